"""Thresholds: closed forms, numpy as the reference, and the curriculum of rounds."""

import numpy as np
import pytest
import torch

from leaven.select import (
    fixed_threshold,
    percentile_schedule,
    percentile_threshold,
    top_percentile,
)


def test_fixed_threshold_accepts_from_the_threshold_on() -> None:
    confidence = torch.tensor([0.2, 0.95, 0.9499, 1.0, float("nan")])
    weight = fixed_threshold(confidence, 0.95)
    assert weight.tolist() == [0, 1, 0, 1, 0]
    assert weight.dtype == confidence.dtype


def test_fixed_threshold_takes_one_threshold_per_item() -> None:
    confidence = torch.tensor([0.5, 0.5])
    assert fixed_threshold(confidence, torch.tensor([0.4, 0.6])).tolist() == [1, 0]


def test_fixed_threshold_of_nothing_is_nothing() -> None:
    assert fixed_threshold(torch.empty(0), 0.5).shape == (0,)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
@pytest.mark.parametrize("percentile", [0, 12.5, 33, 50, 80, 99.9, 100])
def test_percentile_threshold_equals_numpy(n: int, percentile: float) -> None:
    confidence = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    found = percentile_threshold(confidence, percentile)
    assert found.ndim == 0
    assert float(found) == pytest.approx(np.percentile(confidence.numpy(), percentile), abs=1e-12)


def test_percentile_threshold_of_equal_items_is_their_value() -> None:
    confidence = torch.full((7,), 0.1)
    assert float(percentile_threshold(confidence, 37)) == float(confidence[0])
    assert top_percentile(confidence, 37).tolist() == [1.0] * 7


def test_percentile_threshold_takes_more_items_than_torch_quantile() -> None:
    confidence = torch.arange(2**24 + 1, dtype=torch.float32)
    assert float(percentile_threshold(confidence, 50)) == 2**23


def test_curriculum_rounds_take_the_top_of_a_hundred_items() -> None:
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    confidence = (order + 1) / 100
    for number, expected in enumerate([20, 40, 60, 80, 100], start=1):
        percentile = percentile_schedule(number, 20)
        assert percentile == 100 - 20 * number
        chosen = order[top_percentile(confidence, percentile) > 0]
        assert sorted(chosen.tolist()) == list(range(100 - expected, 100))


def test_a_step_of_a_hundred_takes_everything_in_the_first_round() -> None:
    assert percentile_schedule(1, 100) == 0
    assert top_percentile(torch.rand(9), percentile_schedule(1, 100)).sum() == 9


def test_the_schedule_starts_at_a_hundred_and_stays_at_zero() -> None:
    assert [percentile_schedule(r, 30) for r in range(6)] == [100, 70, 40, 10, 0, 0]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="n >= 1"):
        percentile_threshold(torch.empty(0), 50)
    with pytest.raises(ValueError, match=r"\[0, 100\]"):
        percentile_threshold(torch.rand(3), 101)
    with pytest.raises(ValueError, match="rounds"):
        percentile_schedule(-1, 20)
    with pytest.raises(ValueError, match="step"):
        percentile_schedule(1, 0)
