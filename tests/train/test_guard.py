"""What a failed step did to buffers is taken back, without a copy of large memories."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from leaven.propose import ItemAverage
from leaven.refine import ClassQueues, LabelledMemory, LatestProposals, NeighbourMemory
from leaven.train import EMA
from leaven.train.guard import BufferGuard
from leaven.undo import RowBuffers


class Memory(RowBuffers):
    by_rows: ClassVar[tuple[str, ...]] = ("bank",)

    bank: Tensor

    def __init__(self, rows: int = 6) -> None:
        super().__init__()
        self.register_buffer("bank", torch.arange(rows * 2.0).view(rows, 2))
        self.register_buffer("count", torch.zeros(()))


def put(memory: Memory, rows: list[int], value: float) -> None:
    memory.write("bank", torch.tensor(rows, dtype=torch.int64), value)


@pytest.mark.parametrize(
    "writes",
    [
        [],
        [[0, 3]],
        [[0, 3], [3, 4], [0]],  # rows that are written again
        [[1, 1, 2]],  # one row twice in a write
        [[0, 1, 2, 3], [2, 3, 4, 5], [1, 5]],  # more rows than there are
        [[]],
    ],
)
def test_rows_go_back_to_where_the_step_began(writes: list[list[int]]) -> None:
    memory = Memory()
    put(memory, [5], 7.0)  # before a guard is there nothing is kept
    guard = BufferGuard([memory])
    guard.remember()
    put(memory, [2], -3.0)
    guard.remember()
    before = memory.bank.clone()
    for value, rows in enumerate(writes):
        put(memory, rows, 100.0 + value)
        memory.get_buffer("count").add_(1)
    guard.take_back()
    assert torch.equal(memory.bank, before)
    assert float(memory.get_buffer("count")) == 0
    # What follows in the same step goes back to the same place.
    put(memory, [0, 1], math.nan)
    guard.take_back()
    assert torch.equal(memory.bank, before)


def test_a_good_step_stays() -> None:
    memory = Memory()
    guard = BufferGuard([memory])
    guard.remember()
    put(memory, [1, 4], 9.0)
    guard.remember()
    put(memory, [4], math.nan)
    guard.take_back()
    assert memory.bank[[1, 4]].tolist() == [[9.0, 9.0]] * 2


def test_nothing_is_kept_of_rows_that_are_not_written() -> None:
    memory = Memory(1000)
    guard = BufferGuard([nn.Sequential(memory), memory])
    assert all(saved.numel() == 1 for saved in guard._saved)
    guard.remember()
    put(memory, [3, 5], 0.0)
    assert memory._before is not None
    assert sum(values.numel() for _, values in memory._before["bank"]) == 4
    guard.remember()
    assert memory._before["bank"] == []


def test_counters_go_back_and_batch_statistics_too() -> None:
    norm = nn.BatchNorm1d(2)
    guard = BufferGuard([norm])
    before = copy.deepcopy(norm.state_dict())
    guard.remember()
    norm(torch.full((3, 2), math.nan))
    assert norm.num_batches_tracked is not None
    assert int(norm.num_batches_tracked) == 1
    guard.take_back()
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("own", [True, False])
def test_buffers_of_an_average_go_back_where_its_passes_move_them(own: bool) -> None:
    average = EMA(nn.BatchNorm1d(2), 0.9, own_buffers=own)
    if not own:  # such as BCP, which averages the buffers too
        average.module.train()
    guard = BufferGuard([average])
    guard.remember()
    before = copy.deepcopy(average.module.state_dict())
    average.module.train()(torch.full((3, 2), math.nan))
    guard.take_back()
    for name, value in average.module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_an_average_whose_buffers_rest_costs_nothing() -> None:
    assert not BufferGuard([EMA(nn.BatchNorm1d(2), 0.9)])._saved


def features(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def push(queues: ClassQueues, seed: int) -> None:
    member = features(9, 3, seed) > 0
    queues.push(features(9, 4, seed + 100), member)


CASES: dict[str, tuple[Callable[[], RowBuffers], Callable[[RowBuffers, int], object]]] = {
    "queues": (lambda: ClassQueues([5, 7, 40], 4), push),  # type: ignore[dict-item]
    "memory": (
        lambda: LabelledMemory(torch.arange(6), 3, 0.7, torch.Generator().manual_seed(0)),
        lambda part, seed: part.update(torch.tensor([1, seed % 6, 1]), features(3, 3, seed)),  # type: ignore[operator]
    ),
    "latest": (
        lambda: LatestProposals(6, 3),
        lambda part, seed: part.update(torch.tensor([1, seed % 6]), features(2, 3, seed)),  # type: ignore[operator]
    ),
    "average": (
        lambda: ItemAverage(6, 3),
        lambda part, seed: part(torch.tensor([4, seed % 4]), features(2, 3, seed).softmax(1)),
    ),
    "neighbours": (
        lambda: NeighbourMemory(6, 3, 2),
        lambda part, seed: part.update(features(4, 3, seed), features(4, 2, seed)),  # type: ignore[operator]
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_part_goes_on_after_a_failed_step_as_if_it_had_not_been(name: str) -> None:
    make, step = CASES[name]
    part, other = make(), make()
    guard = BufferGuard([part])
    for number in range(6):
        guard.remember()
        if number in (1, 4):  # fails, after two writes
            step(part, 50 + number)
            step(part, 60 + number)
            guard.take_back()
        step(part, number)
        step(other, number)
    for key, value in other.state_dict().items():
        assert torch.equal(part.state_dict()[key], value), key
