"""Pixels beside a picture count nowhere."""

from __future__ import annotations

import math

import pytest
import torch

from leaven.labels import PixelLabels

EXTENTS = torch.tensor([[4, 6], [2, 6], [4, 3]])


def labels(extents: torch.Tensor | None = EXTENTS) -> PixelLabels:
    """Three maps of 4x6: all believed and trusted, with the confidence 0.5 in the upper left
    quarter and 1 elsewhere."""
    confidence = torch.ones(3, 4, 6)
    confidence[:, :2, :3] = 0.5
    classes = torch.zeros(3, 4, 6, dtype=torch.uint8)
    weight = torch.ones(3, 4, 6)
    weight[:, :2, :3] = 0
    return PixelLabels.from_model(classes, confidence.half(), weight.half(), extents)


def test_the_shown_pixels_are_those_of_the_upper_left() -> None:
    assert labels().areas.tolist() == [24, 12, 12]
    assert labels().shown.sum((1, 2)).tolist() == [24, 12, 12]
    assert labels().shown[1].tolist() == [[True] * 6] * 2 + [[False] * 6] * 2
    assert labels().shown[2].tolist() == [[True] * 3 + [False] * 3] * 4
    assert labels(None).shown.all()
    assert labels(None).areas.tolist() == [24, 24, 24]


def test_shares_and_doubt_are_of_what_is_shown() -> None:
    found = labels()
    assert found.accepted.sum((1, 2)).tolist() == [18, 6, 6]
    assert found.shares.tolist() == [0.75, 0.5, 0.5]
    assert math.isclose(found.accepted_share, 30 / 48)
    assert found.doubt.tolist() == [0.125, 0.25, 0.25]
    plain = labels(None)
    assert math.isclose(plain.accepted_share, 0.75)
    assert plain.doubt.tolist() == [0.125] * 3


def test_accuracy_is_of_what_is_shown() -> None:
    truth = torch.zeros(3, 4, 6, dtype=torch.uint8)
    truth[1, 3] = 1  # beside the picture
    assert labels().accuracy(truth) == 1.0
    assert labels(None).accuracy(truth) == pytest.approx(1 - 6 / 54)


def test_extents_go_along() -> None:
    chosen = labels().select(torch.tensor([2, 1]))
    assert chosen.extents is not None
    assert chosen.extents.tolist() == [[4, 3], [2, 6]]
    rows = torch.tensor([True, False, False])
    for other in (
        labels().cpu(),
        labels().with_weight(torch.zeros(3, 4, 6)),
        labels().filled(labels().select(rows), rows),
    ):
        assert other.extents is not None
        assert torch.equal(other.extents, EXTENTS)


def test_extents_are_those_of_all_pictures() -> None:
    with pytest.raises(ValueError, match=r"\(n, 2\) of 3 pictures"):
        labels(EXTENTS[:2])
