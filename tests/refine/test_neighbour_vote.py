"""The vote of the nearest known things."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leaven.refine import nearest_neighbours, neighbour_vote


def rows(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def test_copies_of_a_thing_vote_for_its_class() -> None:
    bank = torch.cat([rows(1, 1).expand(10, 8), rows(30, 2)])
    classes = torch.cat([torch.full((10,), 2), torch.arange(30) % 2])
    vote = neighbour_vote(bank[:1], bank, classes, 3, count=10)
    assert vote.classes.tolist() == [2] and vote.share.tolist() == [1.0]


def test_a_constant_added_to_all_features_changes_nothing() -> None:
    bank, queries, classes = rows(40), rows(25, 1), torch.arange(40) % 4
    vote = neighbour_vote(queries, bank, classes, 4, count=5)
    moved = neighbour_vote(queries + 7, bank + 7, classes, 4, count=5)
    assert torch.equal(vote.classes, moved.classes)
    # It would without the centre of the bank: all directions become one.
    far = torch.nn.functional.normalize(queries + 7) @ torch.nn.functional.normalize(bank + 7).T
    assert not torch.equal(classes[far.argmax(1)], neighbour_vote(queries, bank, classes, 4, 1)[0])


def test_one_vote_is_the_nearest_neighbour() -> None:
    bank, queries, classes = rows(30), rows(1, 5), torch.arange(30)
    centred = torch.cat([queries, bank]) - bank.mean(0)
    nearest = nearest_neighbours(centred, 1, metric="cosine").items[0, 0] - 1
    assert neighbour_vote(queries, bank, classes, 30, count=1).classes == nearest


def test_a_small_bank_votes_as_a_whole_and_the_lowest_of_equals_wins() -> None:
    vote = neighbour_vote(rows(3, 1), rows(4), torch.tensor([2, 1, 1, 2]), 3)
    assert vote.classes.tolist() == [1, 1, 1] and vote.share.tolist() == [0.5] * 3
    assert neighbour_vote(rows(0), rows(4), torch.zeros(4).long(), 3).classes.shape == (0,)


def test_nobody_to_ask() -> None:
    with pytest.raises(ValueError, match="0 known things"):
        neighbour_vote(rows(2), rows(0), torch.zeros(0).long(), 3)
    with pytest.raises(ValueError, match="0 of 2"):
        neighbour_vote(rows(2), rows(2), torch.zeros(2).long(), 3, count=0)
