"""How well a score goes with the true IoU of a mask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from claims.measures import best_overlap, trust
from torch import nn

from leaven.labels import BoxLabels, Masks
from leaven.models.detection import Detections


def masks(*spans: tuple[int, int]) -> torch.Tensor:
    """Bars of height 4 in pictures of 8 x 16."""
    found = torch.zeros(len(spans), 8, 16, dtype=torch.bool)
    for row, (start, end) in enumerate(spans):
        found[row, :4, start:end] = True
    return found


TRUTH = BoxLabels.from_person(
    [torch.tensor([[0.0, 0, 8, 4], [8, 0, 16, 4]]), torch.zeros(0, 4)],
    [torch.tensor([0, 0]), torch.zeros(0, dtype=torch.int64)],
    masks=Masks.from_dense(masks((0, 8), (8, 16))),
)
FOUND = masks((0, 8), (8, 12), (4, 12), (0, 8))
PICTURES = torch.tensor([0, 0, 0, 1])


def test_the_best_overlap_is_with_things_of_the_same_picture() -> None:
    overlap = best_overlap(FOUND, PICTURES, TRUTH)
    assert overlap.tolist() == pytest.approx([1, 0.5, 1 / 3, 0])
    assert best_overlap(FOUND[:0], PICTURES[:0], TRUTH).shape == (0,)


class Fixed(nn.Module):
    """Always finds the same."""

    mean = torch.zeros(3)

    def __init__(self, quality: torch.Tensor | None) -> None:
        super().__init__()
        scores = torch.tensor([0.9, 0.4, 0.8, 0.5])
        classes, counts = torch.zeros(4, dtype=torch.int64), torch.tensor([3, 1])
        self.found = Detections(torch.zeros(4, 4), classes, scores, counts, quality, FOUND)

    def detections(self, images: torch.Tensor, *, score: float) -> Detections:
        assert score == 0.35 and len(images) == 2
        return self.found


class Pictures:
    truth = TRUTH
    pixels = SimpleNamespace(batch=lambda index: torch.zeros(len(index), 3, 8, 16))

    def __len__(self) -> int:
        return 2


def test_correlations_and_the_lead() -> None:
    pictures: Any = Pictures()
    quality: Any = Fixed(torch.tensor([1, 0.5, 1 / 3, 0]))
    values = trust(quality, pictures)
    scores = torch.tensor([[0.9, 0.4, 0.8, 0.5], [1, 0.5, 1 / 3, 0]])
    assert values["quality_correlation"] == pytest.approx(1)
    assert values["score_correlation"] == pytest.approx(float(torch.corrcoef(scores)[0, 1]))
    assert values["quality_lead"] == pytest.approx(1 - values["score_correlation"])
    even: Any = Fixed(torch.full((4,), 0.5))
    assert trust(even, pictures)["quality_correlation"] == 0
    silent: Any = Fixed(None)
    assert trust(silent, pictures) == {}
