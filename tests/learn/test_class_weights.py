"""Class weights: the odds against a class."""

import pytest
import torch

from leaven.learn import class_weights, cross_entropy


def test_weights_are_the_odds_against_a_class() -> None:
    counts = torch.tensor([10, 30, 60])
    torch.testing.assert_close(class_weights(counts), torch.tensor([9.0, 70 / 30, 40 / 60]))


def test_equal_counts_give_equal_weights() -> None:
    assert class_weights(torch.full((4,), 25)).tolist() == [3, 3, 3, 3]
    assert class_weights(torch.full((4,), 25), normalised=True).tolist() == [1, 1, 1, 1]


def test_a_class_without_items_weighs_nothing() -> None:
    found = class_weights(torch.tensor([5, 0, 15]))
    torch.testing.assert_close(found, torch.tensor([3.0, 0.0, 1 / 3]))
    normalised = class_weights(torch.tensor([5, 0, 15]), normalised=True)
    assert float(normalised[[0, 2]].mean()) == pytest.approx(1)


@pytest.mark.parametrize("counts", [[7], [0, 7, 0], [0, 0]])
def test_one_class_or_none_gives_zeros(counts: list[int]) -> None:
    for normalised in (False, True):
        assert class_weights(torch.tensor(counts), normalised).tolist() == [0] * len(counts)


def test_normalising_cancels_in_the_weighted_mean() -> None:
    logits, targets = torch.randn(8, 3), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    counts = torch.bincount(targets, minlength=3)
    torch.testing.assert_close(
        cross_entropy(logits, targets, class_weight=class_weights(counts)),
        cross_entropy(logits, targets, class_weight=class_weights(counts, normalised=True)),
    )
