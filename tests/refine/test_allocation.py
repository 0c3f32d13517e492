"""Sinkhorn allocation: the shares come out as wanted."""

from __future__ import annotations

import pytest
import torch

from leaven.refine import SinkhornAllocation, allocation_scale


def probs_of(n: int, classes: int, seed: int = 0, skew: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64)
    logits[:, 0] += skew
    return logits.softmax(1)


def test_the_aligned_mean_is_the_target() -> None:
    probs = probs_of(200, 4)
    target = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    scale = allocation_scale(probs, target, torch.ones(4, dtype=torch.float64), 200, 1e6)
    aligned = probs * scale
    aligned /= aligned.sum(1, keepdim=True)
    torch.testing.assert_close(aligned.mean(0), target, rtol=0, atol=1e-8)
    assert float(scale.log().sum()) == pytest.approx(0, abs=1e-9)


def test_what_fits_is_left_as_it_is() -> None:
    probs = torch.eye(3).repeat(5, 1) * 0.7 + 0.1
    scale = allocation_scale(probs, torch.full((3,), 1 / 3), torch.ones(3), 5, 100.0)
    torch.testing.assert_close(scale, torch.ones(3))


def test_the_least_certain_items_of_a_crowded_class_go_to_the_empty_one() -> None:
    probs = torch.tensor([[0.99, 0.01], [0.97, 0.03], [0.9, 0.1], [0.8, 0.2]])
    scale = allocation_scale(probs, torch.tensor([0.5, 0.5]), torch.ones(2), 500, 1e6)
    assert (probs * scale).argmax(1).tolist() == [0, 0, 1, 1]


def test_factors_stay_within_the_limit() -> None:
    probs = torch.tensor([[1.0, 0.0]]).repeat(8, 1)
    scale = allocation_scale(probs, torch.tensor([0.5, 0.5]), torch.ones(2), 50, 10.0)
    assert float(scale.max()) <= 10.0 and float(scale.min()) >= 0.1
    assert bool(scale.isfinite().all())


def test_one_batch_as_long_as_the_queue_is_solved_in_full() -> None:
    part = SinkhornAllocation(4, length=100, iterations=300)
    aligned = part(probs_of(100, 4).float())
    torch.testing.assert_close(aligned.mean(0), torch.full((4,), 0.25), rtol=0, atol=1e-4)
    torch.testing.assert_close(aligned.sum(1), torch.ones(100))


def test_the_queue_forgets_the_oldest_and_empty_rows_do_not_count() -> None:
    part = SinkhornAllocation(3, length=5, iterations=1)
    first, second = probs_of(3, 3, 1).float(), probs_of(4, 3, 2).float()
    part(first)
    assert int((part.queue.sum(1) > 0).sum()) == 3
    part(second)
    expected = torch.cat([second[2:], first[2:], second[:2]])
    torch.testing.assert_close(part.queue, expected)


def test_the_order_of_batches_on_two_processes_is_that_of_one() -> None:
    one = SinkhornAllocation(3, length=16)
    probs = probs_of(8, 3).float()
    two = SinkhornAllocation(3, length=16, gather=lambda _: probs)
    whole, half = one(probs), two(probs[::2])
    torch.testing.assert_close(half, whole[::2])


def test_rows_that_are_not_finite_are_not_remembered() -> None:
    part = SinkhornAllocation(2, length=4)
    probs = torch.tensor([[0.5, 0.5], [float("nan"), 0.5]])
    part(probs)
    assert bool(part.queue.isfinite().all()) and bool(part.scale.isfinite().all())


def test_the_state_is_restored() -> None:
    first, second = SinkhornAllocation(3, length=8), SinkhornAllocation(3, length=8)
    first(probs_of(5, 3).float())
    second.load_state_dict(first.state_dict())
    batch = probs_of(5, 3, 7).float()
    assert torch.equal(first(batch), second(batch))


@pytest.mark.parametrize(
    "arguments",
    [{"length": 0}, {"iterations": 0}, {"limit": 1.0}, {"target": torch.tensor([1.0, 0.0, 0.0])}],
)
def test_bad_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least|positive"):
        SinkhornAllocation(3, **arguments)  # type: ignore[arg-type]
