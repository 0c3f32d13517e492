"""Unfolding and aggregation between classes and labelled items."""

import pytest
import torch
from torch import Tensor

from leaven.refine import aggregate, blend, unfold

CLASSES = torch.tensor([0, 1, 2, 2, 1, 0, 0])


def distributions(rows: int, columns: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, dtype=torch.float64, generator=generator).softmax(1)


def test_both_equal_slow_references() -> None:
    p, q = distributions(4, 3), distributions(4, 7, seed=1)
    unfolded, aggregated = unfold(p, q, CLASSES), aggregate(q, CLASSES, 3)
    for i in range(4):
        joint = [float(q[i, j] * p[i, CLASSES[j]]) for j in range(7)]
        assert unfolded[i].tolist() == pytest.approx([v / sum(joint) for v in joint])
        for k in range(3):
            expected = sum(float(q[i, j]) for j in range(7) if CLASSES[j] == k)
            assert float(aggregated[i, k]) == pytest.approx(expected)


def test_all_results_are_distributions() -> None:
    p, q = distributions(4, 3), distributions(4, 7, seed=1)
    aggregated = aggregate(q, CLASSES, 3)
    for result in (unfold(p, q, CLASSES), aggregated, blend(p, aggregated, 0.9)):
        torch.testing.assert_close(result.sum(1), torch.ones(4, dtype=torch.float64))


def test_one_item_per_class_makes_both_spaces_one() -> None:
    classes = torch.tensor([2, 0, 1])
    p, q = distributions(4, 3), distributions(4, 3, seed=1)
    assert torch.equal(aggregate(q, classes, 3)[:, classes], q)
    joint = q * p[:, classes]
    torch.testing.assert_close(unfold(p, q, classes), joint / joint.sum(1, keepdim=True))


def test_unfolding_then_aggregating_returns_the_classes() -> None:
    classes, p = torch.tensor([0, 1, 2, 2, 0, 1]), distributions(4, 3)
    uniform = torch.full((4, 6), 1 / 6, dtype=torch.float64)
    torch.testing.assert_close(aggregate(unfold(p, uniform, classes), classes, 3), p)


def test_items_of_impossible_classes_get_nothing() -> None:
    p, q = distributions(4, 3), distributions(4, 7, seed=1)
    p[:, 1] = 0
    assert unfold(p, q, CLASSES)[:, CLASSES == 1].abs().sum() == 0


def test_a_certain_class_restricts_the_items_to_it() -> None:
    p, q = torch.zeros(4, 3, dtype=torch.float64), distributions(4, 7, seed=1)
    p[:, 2] = 1
    own = q * (CLASSES == 2)
    torch.testing.assert_close(unfold(p, q, CLASSES), own / own.sum(1, keepdim=True))


def test_rows_without_common_mass_are_zero() -> None:
    p = torch.tensor([[0.0, 1.0]])
    q = torch.tensor([[1.0, 0.0]])
    assert unfold(p, q, torch.tensor([0, 1])).tolist() == [[0, 0]]


def test_a_class_without_items_gets_no_votes() -> None:
    assert aggregate(distributions(2, 3), torch.tensor([0, 0, 2]), 4)[:, [1, 3]].sum() == 0


def test_blend_at_its_ends() -> None:
    p, q = distributions(4, 3), distributions(4, 3, seed=1)
    assert torch.equal(blend(p, q, 1.0), p) and torch.equal(blend(p, q, 0.0), q)
    torch.testing.assert_close(blend(p, q, 0.9), 0.9 * p + 0.1 * q)
    with pytest.raises(ValueError, match="share"):
        blend(p, q, 1.1)


def test_empty_batches_stay_empty() -> None:
    assert unfold(torch.empty(0, 3), torch.empty(0, 7), CLASSES).shape == (0, 7)
    assert aggregate(torch.empty(0, 7), CLASSES, 3).shape == (0, 3)


def test_half_precision_is_summed_in_float32() -> None:
    many = torch.full((1, 4000), 1 / 4000).bfloat16()
    found = aggregate(many, torch.zeros(4000, dtype=torch.long), 2)
    assert found.dtype == torch.float32
    assert float(found[0, 0]) == pytest.approx(4000 * float(many[0, 0]), rel=1e-4)
