"""Losses of parts of pictures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.learn import masked_cross_entropy, masked_dice, masked_loss


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 6, 5, generator=generator)
    classes = torch.randint(-1, 4, (3, 6, 5), generator=generator)
    mask = torch.rand(3, 6, 5, generator=generator) < 0.5
    return logits, classes, mask


def test_cross_entropy_in_the_mask(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, classes, mask = batch
    seen = mask & (classes >= 0)
    expected = F.cross_entropy(logits.permute(0, 2, 3, 1)[seen], classes[seen])
    assert torch.allclose(masked_cross_entropy(logits, classes, mask), expected)


def test_dice_in_the_mask_by_class(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, classes, mask = batch
    seen = mask & (classes >= 0)
    probs = logits.softmax(1).permute(0, 2, 3, 1)[seen]
    truth = F.one_hot(classes[seen], 4).float()
    overlap = 2 * (probs * truth).sum(0) / (probs.square().sum(0) + truth.sum(0))
    assert torch.allclose(masked_dice(logits, classes, mask), (1 - overlap).mean())


def test_the_whole_picture_is_the_plain_loss(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, classes, _ = batch
    everywhere = torch.ones(1, 6, 5, dtype=torch.bool)
    plain = F.cross_entropy(logits, classes, ignore_index=-1)
    assert torch.allclose(masked_cross_entropy(logits, classes, everywhere), plain)
    both = (plain + masked_dice(logits, classes, everywhere)) / 2
    assert torch.allclose(masked_loss(logits, classes, everywhere), both)


def test_an_empty_mask_costs_exactly_nothing(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, classes, mask = batch
    logits.requires_grad_()
    for empty in (
        masked_loss(logits, classes, torch.zeros_like(mask)),
        masked_loss(logits, torch.full_like(classes, -1), mask),
    ):
        assert float(empty.detach()) == 0
        (gradient,) = torch.autograd.grad(empty, logits)
        assert torch.equal(gradient, torch.zeros_like(logits))


def test_the_area_of_a_mask_does_not_count() -> None:
    """Constant logits and labels in either mask: twice the area, the same losses."""
    losses = []
    for width in (4, 8):
        box = torch.zeros(1, 10, 12, dtype=torch.bool)
        box[:, 2:7, :width] = True
        classes = torch.where(box, 1, 0)
        inner, outer = torch.tensor([0.5, -1.0, 0.3]), torch.tensor([-0.7, 0.2, 1.0])
        logits = torch.where(box[:, None], inner[None, :, None, None], outer[None, :, None, None])
        parts = [masked_cross_entropy(logits, classes, part) for part in (box, ~box)]
        losses.append(0.5 * parts[0] + parts[1])
    assert torch.allclose(losses[0], losses[1])


def test_a_perfect_prediction_costs_nothing() -> None:
    classes = torch.randint(0, 3, (2, 5, 5))
    logits = 200.0 * F.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    assert float(masked_loss(logits, classes, torch.ones(1, 5, 5).bool())) == pytest.approx(0)
