from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leaven.propose import EpochLabels


def probs(count: int, classes: int, seed: int) -> Tensor:
    return torch.rand(count, classes, generator=torch.Generator().manual_seed(seed)).softmax(1)


def test_targets_change_at_refresh_alone_and_only_where_stored_and_free() -> None:
    start = probs(6, 3, 0)
    fixed = torch.tensor([True, False, False, True, False, False])
    table = EpochLabels(start, fixed)
    said = probs(4, 3, 1)
    table.store(torch.tensor([0, 1]), said[:2])
    table.store(torch.tensor([4, 3]), said[2:])
    assert torch.equal(table.targets, start)

    table.refresh()
    expected = start.clone()
    expected[1], expected[4] = said[1], said[2]
    assert torch.equal(table.targets, expected)
    table.refresh()
    assert torch.equal(table.targets, expected)


def test_the_last_of_two_stores_counts_and_a_call_looks_up_rows() -> None:
    table = EpochLabels(torch.zeros(3, 2), torch.zeros(3, dtype=torch.bool))
    table.store(torch.tensor([1]), torch.tensor([[0.2, 0.8]]))
    table.store(torch.tensor([1]), torch.tensor([[0.6, 0.4]]))
    table.refresh()
    assert table(torch.tensor([1, 0])).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.4)],
        [0, 0],
    ]


def test_fill_sets_the_free_rows_in_their_order() -> None:
    fixed = torch.tensor([False, True, False])
    start = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    table = EpochLabels(start, fixed)
    table.fill(torch.tensor([[0.3, 0.7], [0.9, 0.1]]))
    assert torch.allclose(table.targets, torch.tensor([[0.3, 0.7], [0.0, 1.0], [0.9, 0.1]]))
    assert start[0].tolist() == [0, 0]


def test_a_row_that_is_not_finite_is_passed_over() -> None:
    table = EpochLabels(torch.full((2, 2), 0.5), torch.zeros(2, dtype=torch.bool))
    table.store(torch.tensor([0, 1]), torch.tensor([[float("nan"), 0.5], [0.9, 0.1]]))
    table.refresh()
    assert torch.allclose(table.targets, torch.tensor([[0.5, 0.5], [0.9, 0.1]]))


def test_two_processes_refresh_each_others_rows() -> None:
    """Both tables end equal: what each has stored reaches the other through the mean."""
    tables: list[EpochLabels] = []
    sent: list[list[Tensor]] = [[], []]

    def exchange(own: int) -> list[Tensor]:
        return [(a + b) / 2 for a, b in zip(sent[own], sent[1 - own])]

    fixed = torch.zeros(4, dtype=torch.bool)
    said = probs(3, 2, 2)
    for rank, (items, rows) in enumerate(
        ((torch.tensor([0, 2]), said[:2]), (torch.tensor([3]), said[2:]))
    ):

        def noted(value: Tensor, rank: int = rank) -> Tensor:
            sent[rank].append(value.clone())
            return value

        table = EpochLabels(torch.full((4, 2), 0.5), fixed, reduce=noted)
        table.store(items, rows)
        tables.append(table)
    copies = [table.state_dict() for table in tables]
    saved = [{k: v.clone() for k, v in copy.items()} for copy in copies]
    for table in tables:
        table.refresh()

    expected = torch.stack([said[0], torch.full((2,), 0.5), said[1], said[2]])
    for rank in (0, 1):
        answers = iter(exchange(rank))
        table = EpochLabels(torch.full((4, 2), 0.5), fixed, reduce=lambda _, a=answers: next(a))
        table.load_state_dict(saved[rank])
        table.refresh()
        assert torch.allclose(table.targets, expected)


def test_its_state_comes_back() -> None:
    fixed = torch.tensor([False, False, True])
    table = EpochLabels(probs(3, 2, 3), fixed)
    table.store(torch.tensor([0]), torch.tensor([[0.1, 0.9]]))
    again = EpochLabels(torch.zeros(3, 2), fixed)
    again.load_state_dict(table.state_dict())
    for each in (table, again):
        each.refresh()
    assert torch.equal(again.targets, table.targets)
    assert torch.allclose(again.targets[0], torch.tensor([0.1, 0.9]))


def test_flags_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 flags, not 3"):
        EpochLabels(torch.zeros(2, 2), torch.zeros(3, dtype=torch.bool))
