"""Online hard example mining of pixels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from leaven.learn import hard_pixel_cross_entropy, pixel_cross_entropy


def case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 5, 6, 7, generator=generator)
    return logits, torch.randint(-1, 5, (2, 6, 7), generator=generator)


def slow(logits: torch.Tensor, classes: torch.Tensor, threshold: float, least: int) -> float:
    """From the words: the pixels in order of the probability of their class."""
    pairs = []
    for picture in range(len(classes)):
        for row, column in torch.cartesian_prod(torch.arange(6), torch.arange(7)).tolist():
            known = int(classes[picture, row, column])
            if known >= 0:
                right = logits[picture, :, row, column].double().softmax(0)[known]
                pairs.append(float(right))
    pairs.sort()
    hard = [p for p in pairs if p <= threshold]
    hard = hard if len(hard) >= least else pairs[:least]
    return sum(-math.log(p) for p in hard) / len(hard)


@pytest.mark.parametrize("threshold", [0.05, 0.7, 1.0])
@pytest.mark.parametrize("least", [1, 20, 50])
def test_it_is_the_mean_over_the_hard_pixels(threshold: float, least: int) -> None:
    logits, classes = case()
    found = hard_pixel_cross_entropy(logits, classes, threshold, least)
    assert math.isclose(float(found), slow(logits, classes, threshold, least), rel_tol=1e-5)


@pytest.mark.parametrize(("threshold", "least"), [(1.0, 0), (0.01, 2 * 6 * 7), (0.7, 100_000)])
def test_with_nothing_left_out_it_is_the_plain_one(threshold: float, least: int) -> None:
    logits, classes = case()
    found = hard_pixel_cross_entropy(logits, classes, threshold, least)
    assert torch.equal(found, pixel_cross_entropy(logits, classes))


def test_a_known_closed_form() -> None:
    # Probabilities 0.9, 0.6 and 0.2 of the right class of two.
    right = torch.tensor([[[0.9, 0.6, 0.2]]])
    logits = torch.stack([right, 1 - right], 1).log()
    classes = torch.zeros(1, 1, 3, dtype=torch.int64)
    two = -(math.log(0.6) + math.log(0.2)) / 2
    assert math.isclose(float(hard_pixel_cross_entropy(logits, classes, 0.7, 1)), two, rel_tol=1e-6)
    one = -math.log(0.2)
    assert math.isclose(float(hard_pixel_cross_entropy(logits, classes, 0.5, 1)), one, rel_tol=1e-6)
    three = two * 2 / 3 - math.log(0.9) / 3
    found = float(hard_pixel_cross_entropy(logits, classes, 0.5, 3))
    assert math.isclose(found, three, rel_tol=1e-6)


def test_easy_and_unknown_pixels_have_no_gradient() -> None:
    logits, classes = case()
    logits.requires_grad_()
    hard_pixel_cross_entropy(logits, classes, 0.3, 1).backward()
    assert logits.grad is not None
    right = (-F.cross_entropy(logits, classes, ignore_index=-1, reduction="none")).exp()
    hard = (classes >= 0) & (right <= 0.3)
    assert torch.equal(logits.grad.abs().sum(1) > 0, hard)


def test_no_known_class_is_0_with_a_gradient_of_0() -> None:
    logits, classes = case()
    logits.requires_grad_()
    loss = hard_pixel_cross_entropy(logits, torch.full_like(classes, -1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
