"""Boxes, mixtures and masked losses of volumes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.learn import (
    batch_box,
    masked_cross_entropy,
    masked_dice,
    masked_dice_by_sample,
    masked_loss,
    masked_loss_by_sample,
    mix,
)

SIZES = [(6, 5), (6, 5, 4)]


def batch(size: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, *size, generator=generator)
    classes = torch.randint(-1, 4, (3, *size), generator=generator)
    return logits, classes, torch.rand(3, *size, generator=generator) < 0.5


@pytest.mark.parametrize("size", [(30, 21), (12, 9, 21), (6, 7, 8, 9)])
def test_a_box_along_every_axis(size: tuple[int, ...]) -> None:
    draws = Draws(0)
    boxes = torch.cat([batch_box(size, draws) for _ in range(150)])
    sides = [int(2 / 3 * side + 1e-9) for side in size]
    assert (boxes.flatten(1).sum(1) == torch.tensor(sides).prod()).all()
    for axis, (side, own) in enumerate(zip(size, sides, strict=True)):
        others = [d for d in range(1, boxes.ndim) if d != axis + 1]
        along = boxes.any(dim=tuple(others))
        assert (along.sum(1) == own).all()
        # Whole, and anywhere inside.
        starts = along.int().argmax(1)
        assert all(bool(row[s : s + own].all()) for row, s in zip(along, starts, strict=True))
        assert (int(starts.min()), int(starts.max())) == (0, side - own)


def test_the_box_of_pancreas_crops() -> None:
    assert int(batch_box((96, 96, 96), Draws(0)).sum()) == 64**3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_mixing_copies_either_at_every_place(size: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    own, other = (torch.rand(2, 3, 2, *size, generator=generator) * 255).to(dtype).unbind(0)
    box = batch_box(size, Draws(1))
    found = mix(box, own, other)
    for sample, channel in ((0, 0), (2, 1)):
        assert torch.equal(found[sample, channel][box[0]], other[sample, channel][box[0]])
        assert torch.equal(found[sample, channel][~box[0]], own[sample, channel][~box[0]])
    classes = mix(box, own[:, 0], other[:, 0])
    assert torch.equal(classes, found[:, 0])
    with pytest.raises(ValueError, match="cannot mix"):
        mix(box[..., 1:], own, other)
    with pytest.raises(ValueError, match="cannot mix"):
        mix(box, own[None], other[None])


@pytest.mark.parametrize("size", SIZES)
def test_dice_by_sample_and_class(size: tuple[int, ...]) -> None:
    logits, classes, mask = batch(size)
    terms = []
    for sample in range(3):
        seen = mask[sample] & (classes[sample] >= 0)
        probs = logits[sample].softmax(0)
        for k in range(4):
            p, t = probs[k][seen], (classes[sample] == k)[seen].float()
            terms.append(1 - (2 * (p * t).sum() + 1e-5) / (p.sum() + t.sum() + 1e-5))
    torch.testing.assert_close(
        masked_dice_by_sample(logits, classes, mask), torch.stack(terms).mean()
    )
    both = masked_cross_entropy(logits, classes, mask) + torch.stack(terms).mean()
    torch.testing.assert_close(masked_loss_by_sample(logits, classes, mask), both / 2)


@pytest.mark.parametrize("size", SIZES)
def test_a_volume_costs_what_its_places_cost(size: tuple[int, ...]) -> None:
    """Cross entropy and the Dice of the whole batch do not see how places are arranged."""
    logits, classes, mask = batch(size)
    flat = [each.flatten(-len(size)).unsqueeze(-1) for each in (logits, classes, mask)]
    for loss in (masked_cross_entropy, masked_dice, masked_dice_by_sample, masked_loss):
        torch.testing.assert_close(loss(logits, classes, mask), loss(*flat))


@pytest.mark.parametrize("size", SIZES)
def test_nothing_seen_costs_exactly_nothing(size: tuple[int, ...]) -> None:
    logits, classes, mask = batch(size)
    logits.requires_grad_()
    for empty in (
        masked_loss_by_sample(logits, classes, torch.zeros_like(mask)),
        masked_loss_by_sample(logits, torch.full_like(classes, -1), mask),
    ):
        assert empty.item() == 0
        (gradient,) = torch.autograd.grad(empty, logits)
        assert not gradient.any()


@pytest.mark.parametrize("size", SIZES)
def test_samples_count_alike(size: tuple[int, ...]) -> None:
    """One sample is right everywhere, the other wrong: 1/2, whatever their masks cover."""
    classes = torch.zeros(2, *size, dtype=torch.int64)
    logits = torch.zeros(2, 2, *size)
    logits[0, 0], logits[1, 1] = 200.0, 200.0
    mask = torch.ones(2, *size, dtype=torch.bool)
    mask[1, 1:] = False
    # Of the right sample both classes cost 0, the absent one by the smooth term; of the other 1.
    assert masked_dice_by_sample(logits, classes, mask).item() == pytest.approx(0.5, abs=1e-5)
