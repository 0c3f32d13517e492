"""The power weights of PAIS: closed forms."""

from __future__ import annotations

import pytest
import torch

from leaven.select import power_weight


def test_the_values_that_were_released() -> None:
    scores = torch.tensor([0.0, 0.35, 0.5, 0.9, 1.0])
    of_class = power_weight(scores, 12, 4, 0.5)
    assert of_class.tolist() == pytest.approx([0, 12 * 0.35**4, 0.75, 0.75, 0.75])
    assert of_class[1].item() == pytest.approx(0.18, abs=1e-3)
    assert power_weight(scores, 2.5).tolist() == pytest.approx(
        [0, 2.5 * 0.35**4, 2.5 / 16, 2.5 * 0.9**4, 2.5]
    )


def test_it_rises_and_is_flat_above_the_cap() -> None:
    scores = torch.linspace(0, 1, 101)
    of_class, of_mask = power_weight(scores, 12, 4, 0.5), power_weight(scores, 2.5, 4)
    assert (of_mask.diff() > 0).all() and (of_class[:51].diff() > 0).all()
    assert (of_class[50:] == of_class[50]).all()
    assert of_class[0] == 0 and of_mask[0] == 0


def test_power_zero_is_no_weighing() -> None:
    assert power_weight(torch.tensor([0.0, 0.3, 1.0]), 1, 0, 0.5).tolist() == [1, 1, 1]
    assert power_weight(torch.zeros(0)).shape == (0,)


def test_it_has_no_gradient() -> None:
    assert not power_weight(torch.ones(2, requires_grad=True)).requires_grad


@pytest.mark.parametrize("values", [(-1, 4, 1), (1, -4, 1), (1, 4, 0)])
def test_values_out_of_range(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        power_weight(torch.ones(1), *values)
