"""Moved copies of boxes, and how far what becomes of them differs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.select import box_spread, jittered_boxes

BOXES = torch.tensor([[10.0, 20.0, 50.0, 40.0], [100.0, 0.0, 101.0, 200.0], [5.0, 5.0, 5.2, 5.3]])


def test_copies_have_the_spread_of_each_side() -> None:
    copies = jittered_boxes(BOXES, 4000, 0.06, Draws(0))
    assert copies.shape == (3, 4000, 4)
    moved = copies - BOXES[:, None]
    # The sides are 40 x 20, 1 x 200, and under a pixel, which counts as one.
    sides = torch.tensor([[40.0, 20.0, 40.0, 20.0], [1.0, 200.0, 1.0, 200.0], [1.0, 1.0, 1.0, 1.0]])
    assert torch.allclose(moved.std(1), 0.06 * sides, rtol=0.05)
    assert (moved.mean(1).abs() < 0.005 * sides).all()
    within = torch.corrcoef(moved[0].T) - torch.eye(4)
    assert within.abs().max() < 0.06


def test_no_scale_moves_nothing_and_no_box_has_no_copy() -> None:
    assert torch.equal(jittered_boxes(BOXES, 2, 0.0, Draws(0)), BOXES[:, None].expand(-1, 2, -1))
    assert box_spread(jittered_boxes(BOXES[:0], 10, 0.06, Draws(0))).shape == (0,)


def test_the_source_moves_on_equally_whatever_the_number_of_boxes() -> None:
    one, many = Draws(3), Draws(3)
    jittered_boxes(BOXES[:1], 10, 0.06, one)
    jittered_boxes(BOXES, 10, 0.06, many)
    assert torch.equal(one.uniform(4), many.uniform(4))


def test_one_place_has_no_spread() -> None:
    assert box_spread(BOXES[:, None].expand(-1, 10, -1)).tolist() == [0, 0, 0]


def test_a_box_left_as_it_is_has_the_spread_of_its_copies() -> None:
    boxes = torch.tensor([[100.0, 100.0, 300.0, 180.0]]).expand(4000, 4)
    spread = box_spread(jittered_boxes(boxes, 10, 0.06, Draws(1)))
    # The mean of a sample standard deviation of ten is below the true one by this factor.
    factor = math.sqrt(2 / 9) * math.gamma(5) / math.gamma(4.5)
    assert factor == pytest.approx(0.973, abs=1e-3)
    assert float(spread.mean()) == pytest.approx(0.06 * factor, rel=0.01)
    assert (spread > 0.02).float().mean() > 0.999


def by_hand(refined: Tensor) -> list[float]:
    found = []
    for copies in refined.double():
        mean = copies.mean(0)
        width, height = (mean[2:] - mean[:2]).clamp_min(1).tolist()
        sides = [width, height, width, height]
        total = 0.0
        for number in range(4):
            column = copies[:, number]
            variance = ((column - column.mean()) ** 2).sum() / (len(column) - 1)
            total += float(variance.sqrt()) / sides[number] / 4
        found.append(total)
    return found


def test_spread_is_its_formula() -> None:
    refined = jittered_boxes(BOXES, 7, 0.3, Draws(2))
    assert box_spread(refined).tolist() == pytest.approx(by_hand(refined), rel=1e-4)


def test_spread_does_not_know_place_and_size() -> None:
    refined = jittered_boxes(BOXES[:1], 10, 0.06, Draws(4)).double()
    spread = box_spread(refined)
    assert torch.allclose(box_spread(refined + 1000), spread)
    assert torch.allclose(box_spread(refined * 7), spread)
    stretched = refined * torch.tensor([3.0, 1.0, 3.0, 1.0], dtype=torch.float64)
    assert torch.allclose(box_spread(stretched), spread)


def test_one_copy_has_no_spread() -> None:
    with pytest.raises(ValueError, match="two copies"):
        box_spread(BOXES[:, None])
