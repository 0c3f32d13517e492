"""Cross entropy of regions, weighted and focal."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from leaven.learn import region_cross_entropy

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 2
CLASSES = torch.tensor([0, 3, -1, 2, 3, 1])
KNOWN = CLASSES >= 0


def test_plain_is_the_mean_of_the_known() -> None:
    expected = F.cross_entropy(LOGITS[KNOWN], CLASSES[KNOWN])
    assert torch.isclose(region_cross_entropy(LOGITS, CLASSES), expected)


def test_weights_multiply_and_are_not_counted() -> None:
    weight = torch.tensor([2.0, 1.0, 9.0, 0.0, 1.0, 3.0])
    rows = F.cross_entropy(LOGITS[KNOWN], CLASSES[KNOWN], reduction="none")
    expected = (rows * weight[KNOWN]).sum() / 5
    assert torch.isclose(region_cross_entropy(LOGITS, CLASSES, weight), expected)


def test_focus_by_hand() -> None:
    total = 0.0
    for row, kind in zip(LOGITS, CLASSES, strict=True):
        if kind >= 0:
            probability = float(row.softmax(0)[kind])
            total += (1 - probability) ** 1.5 * -torch.tensor(probability).log().item()
    found = region_cross_entropy(LOGITS, CLASSES, focus=1.5)
    assert float(found) == pytest.approx(total / 5, rel=1e-5)


@pytest.mark.parametrize("focus", [0.0, 1.5])
def test_no_class_and_certain_ones_are_finite(focus: float) -> None:
    certain = torch.tensor([[90.0, 0.0], [0.0, 90.0]])
    for logits, classes in (
        (LOGITS, torch.full((6,), -1)),
        (LOGITS[:0], CLASSES[:0]),
        (certain, torch.tensor([0, 1])),
        (certain, torch.tensor([1, 0])),
    ):
        logits = logits.clone().requires_grad_()
        loss = region_cross_entropy(logits, classes, focus=focus)
        loss.backward()
        assert bool(loss.isfinite()) and bool(logits.grad.isfinite().all())
    assert region_cross_entropy(LOGITS, torch.full((6,), -1), focus=focus) == 0
