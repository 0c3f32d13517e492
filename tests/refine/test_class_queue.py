"""Queues of features of different lengths in one tensor."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.refine import ClassQueues


def kept(queues: ClassQueues) -> list[set[float]]:
    """The first numbers of the features in each queue."""
    found = []
    for start, filled in zip(queues.starts.tolist(), queues.filled.long().tolist(), strict=True):
        found.append(set(queues.bank[start : start + filled, 0].tolist()))
    return found


def numbered(count: int, first: int = 0) -> Tensor:
    return torch.arange(first, first + count).float()[:, None].expand(count, 2)


def test_against_a_deque_for_each_class() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [3, 7, 1]
    queues, reference = ClassQueues(sizes, 2), [deque[float](maxlen=size) for size in sizes]
    for step in range(20):
        features = numbered(9, 9 * step)
        member = torch.rand(9, 3, generator=generator) < 0.3
        queues.push(features, member)
        for number, row in zip(features[:, 0].tolist(), member.tolist(), strict=True):
            for queue, belongs in zip(reference, row, strict=True):
                if belongs:
                    queue.append(number)
        assert kept(queues) == [set(queue) for queue in reference]


def test_no_queue_exceeds_its_size_and_the_oldest_go_first() -> None:
    queues = ClassQueues([4, 2], 2)
    queues.push(numbered(10), torch.ones(10, 2, dtype=torch.bool))
    assert kept(queues) == [{6, 7, 8, 9}, {8, 9}]
    queues.push(numbered(1, 10), torch.tensor([[True, False]]))
    assert kept(queues) == [{7, 8, 9, 10}, {8, 9}]
    assert queues.filled.tolist() == [4, 2]


def test_draws_come_from_the_queue_of_the_class_alone() -> None:
    queues = ClassQueues([5, 50, 4], 2)
    member = torch.zeros(6, 3, dtype=torch.bool)
    member[:2, 0] = member[2:, 1] = True
    queues.push(numbered(6, 1), member)
    drawn = queues.draw(40, 5, Draws(0))
    assert drawn.shape == (3, 40, 5, 2)
    assert set(drawn[0, ..., 0].flatten().tolist()) == {1, 2}
    assert set(drawn[1, ..., 0].flatten().tolist()) == {3, 4, 5, 6}
    assert not drawn[2].any()


def test_a_state_goes_on_where_it_was_saved() -> None:
    first, second = ClassQueues([3, 4], 2), ClassQueues([3, 4], 2)
    member = torch.ones(5, 2, dtype=torch.bool)
    first.push(numbered(5), member)
    second.load_state_dict(first.state_dict())
    for queues in (first, second):
        queues.push(numbered(2, 5), member[:2])
    assert torch.equal(first.bank, second.bank)
    assert kept(second) == [{4, 5, 6}, {3, 4, 5, 6}]


def test_no_gradient_and_no_member() -> None:
    queues = ClassQueues([3], 2)
    features = torch.ones(4, 2, requires_grad=True)
    queues.push(features, torch.zeros(4, 1, dtype=torch.bool))
    assert queues.filled.tolist() == [0]
    queues.push(features, torch.ones(4, 1, dtype=torch.bool))
    assert not queues.bank.requires_grad
    assert queues.bank.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(("sizes", "dim"), [([], 2), ([2, 0], 2), ([2], 0)])
def test_bad_sizes(sizes: list[int], dim: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ClassQueues(sizes, dim)
