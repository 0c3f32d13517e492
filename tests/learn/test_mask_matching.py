"""Matching of masks: the cost against its formula, the pairs against all permutations."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from leaven.learn import mask_matching_cost, one_to_one


def test_the_cost_is_its_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, generator=draw)
    masks = torch.randn(3, 4, 5, generator=draw)
    classes = torch.tensor([1, 0])
    true = (torch.rand(2, 4, 5, generator=draw) > 0.5).float()
    cost = mask_matching_cost(logits, masks, classes, true)
    for n in range(3):
        for g in range(2):
            s = float(logits[n, classes[g]].sigmoid())
            positive = -0.25 * (1 - s) ** 2 * math.log(s)
            negative = -0.75 * s**2 * math.log(1 - s)
            p, y = masks[n].sigmoid(), true[g]
            dice = 2 * (p * y).sum() / (p.square().sum() + y.square().sum() + 2e-3)
            agreed = ((p * y).sum() + ((1 - p) * (1 - y)).sum()) / 20
            expected = 2 * (positive - negative) - 4 * dice - agreed
            assert float(cost[n, g]) == pytest.approx(float(expected), abs=1e-5)


def test_class_and_mask_both_decide() -> None:
    masks = torch.full((3, 4, 4), -9.0)
    masks[:2, :2], masks[2, 2:] = 9.0, 9.0
    logits = torch.tensor([[3.0, -3.0], [-3.0, 3.0], [-3.0, 3.0]])
    true = torch.zeros(2, 4, 4)
    true[0, :2], true[1, 2:] = 1, 1
    rows, columns = one_to_one(mask_matching_cost(logits, masks, torch.tensor([1, 1]), true))
    assert rows.tolist() == [1, 2] and columns.tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)])
def test_the_pairs_are_the_cheapest(shape: tuple[int, int]) -> None:
    cost = torch.rand(*shape, generator=torch.Generator().manual_seed(1))
    rows, columns = one_to_one(cost)
    assert len(rows) == min(shape) == len(set(rows.tolist())) == len(set(columns.tolist()))
    wide = cost if shape[0] <= shape[1] else cost.T
    least = min(
        sum(float(wide[n, chosen[n]]) for n in range(len(wide)))
        for chosen in permutations(range(wide.shape[1]), len(wide))
    )
    assert float(cost[rows, columns].sum()) == pytest.approx(least, abs=1e-6)


def test_nothing_to_match_and_numbers_that_are_none() -> None:
    empty = mask_matching_cost(
        torch.zeros(3, 2),
        torch.zeros(3, 2, 2),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, 2, 2),
    )
    assert empty.shape == (3, 0) and len(one_to_one(empty)[0]) == 0
    broken = mask_matching_cost(
        torch.full((2, 1), torch.nan), torch.zeros(2, 2, 2), torch.zeros(1, dtype=torch.int64),
        torch.ones(1, 2, 2),
    )  # fmt: skip
    assert broken.isfinite().all() and len(one_to_one(broken)[0]) == 1
