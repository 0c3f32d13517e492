"""The threshold that rises with mean confidence."""

from __future__ import annotations

import math

import pytest
import torch

from leaven.select import mean_confidence_threshold

EVERYWHERE = torch.ones(2, 3, 4, dtype=torch.bool)


def at(mean: float, **options: float) -> float:
    return float(mean_confidence_threshold(torch.full((2, 3, 4), mean), EVERYWHERE, **options))


@pytest.mark.parametrize("mean", [0.5, 0.6, 0.75, 0.9, 1.0])
def test_the_formula(mean: float) -> None:
    assert at(mean) == pytest.approx(0.6 / (1 + math.exp(-0.5 * (mean - 0.5))))


def test_half_the_base_at_a_mean_of_one_half() -> None:
    assert at(0.5) == pytest.approx(0.3)


def test_it_rises_within_its_bounds() -> None:
    found = [at(mean / 20, slope=4.0, base=1.0) for mean in range(21)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.3)
    assert found[-1] == pytest.approx(0.8)
    between = [value for value in found if 0.301 < value < 0.799]
    assert len(set(between)) == len(between) > 5


def test_only_valid_pixels_count() -> None:
    confidence = torch.rand(2, 3, 4)
    valid = confidence > 0.5
    alone = confidence[valid]
    expected = mean_confidence_threshold(alone, torch.ones_like(alone, dtype=torch.bool))
    assert torch.allclose(mean_confidence_threshold(confidence, valid), expected)


def test_nothing_valid() -> None:
    found = mean_confidence_threshold(torch.rand(2, 3, 4), ~EVERYWHERE, bounds=(0.0, 1.0))
    assert float(found) == pytest.approx(0.6 / (1 + math.exp(0.25)))


def test_the_mean_over_processes() -> None:
    confidence = torch.full((2, 3, 4), 0.9)
    found = mean_confidence_threshold(confidence, EVERYWHERE, reduce=lambda mean: mean - 0.2)
    assert float(found) == pytest.approx(at(0.7))
