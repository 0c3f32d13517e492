"""Draws: moments, processes, restoring."""

from __future__ import annotations

import pytest
import torch

from leaven.draws import Draws

N = 40_000


def every_kind(draws: Draws, n: int) -> list[torch.Tensor]:
    probs = torch.tensor([[0.2, 0.5, 0.3]]).repeat(n, 1)
    return [
        draws.uniform(n, 2, low=-1, high=3),
        draws.normal(n, 2),
        draws.integers(n, high=9, low=2),
        draws.flags(n, probability=0.3).long(),
        draws.beta(0.75, n),
        draws.categorical(probs),
    ]


def test_uniform_normal_integers_and_flags_have_their_moments():
    uniform, normal, integers, flags, _, _ = every_kind(Draws(0), N)
    assert uniform.min() >= -1 and uniform.max() < 3
    assert uniform.mean() == pytest.approx(1, abs=0.03)
    assert uniform.var() == pytest.approx(16 / 12, abs=0.03)
    assert normal.mean() == pytest.approx(0, abs=0.03)
    assert normal.var() == pytest.approx(1, abs=0.03)
    assert integers.unique().tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert flags.float().mean() == pytest.approx(0.3, abs=0.015)


@pytest.mark.parametrize("alpha", [0.001, 0.1, 0.75, 1.0, 4.0])
def test_beta_matches_its_moments(alpha):
    drawn = Draws(3).beta(alpha, N)
    assert drawn.dtype == torch.float32 and drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.015)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.006)


def test_beta_of_a_small_alpha_lies_at_the_ends():
    drawn = Draws(0).beta(0.001, N)
    assert ((drawn < 0.01) | (drawn > 0.99)).float().mean() > 0.98


def test_beta_shared_and_without_mixing():
    shared = Draws(0).beta(0.5)
    assert shared.ndim == 0
    assert Draws(0).beta(0).item() == 1
    assert Draws(0).beta(0, 5).tolist() == [1] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_categorical_matches_the_probabilities(dtype):
    probs = torch.tensor([0.125, 0.0, 0.625, 0.25, 0.0], dtype=dtype)
    drawn = Draws(1).categorical(probs.repeat(N, 1))
    shares = torch.bincount(drawn, minlength=5) / N
    assert torch.allclose(shares, probs.float(), atol=0.01)
    assert shares[1] == 0 and shares[4] == 0


def test_categorical_takes_unnormalised_rows():
    drawn = Draws(1).categorical(torch.tensor([[3.0, 1.0]]).repeat(N, 1))
    assert drawn.float().mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_slice_the_draws_of_one(world):
    whole = every_kind(Draws(5), 12)
    parts = [every_kind(Draws(5, rank=rank, world=world), 12 // world) for rank in range(world)]
    for position, one in enumerate(whole):
        together = torch.stack([part[position] for part in parts], 1).flatten(0, 1)
        assert torch.equal(together, one)


def test_processes_share_the_draw_of_a_batch():
    one, other = (Draws(5, rank=rank, world=2) for rank in range(2))
    assert torch.equal(one.beta(0.5), other.beta(0.5))
    assert torch.equal(one.permutation(6), other.permutation(6))


def test_saved_and_restored_draws_go_on_identically():
    draws = Draws(7)
    every_kind(draws, 5)
    state = draws.state_dict()
    expected = [*every_kind(draws, 5), draws.permutation(9), draws.beta(2.0)]
    again = Draws(0)
    again.load_state_dict(state)
    restored = [*every_kind(again, 5), again.permutation(9), again.beta(2.0)]
    assert all(torch.equal(one, other) for one, other in zip(expected, restored))


def test_seeds_differ_and_forks_are_independent():
    assert not torch.equal(Draws(0).uniform(8), Draws(1).uniform(8))
    draws = Draws(0)
    first, second = draws.fork(), draws.fork()
    assert not torch.equal(first.uniform(8), second.uniform(8))
    assert torch.equal(Draws(0).fork().uniform(8), Draws(0).fork().uniform(8))


def test_a_host_twin_draws_from_the_same_sequence():
    draws = Draws(4)
    expected = [draws.uniform(3), draws.uniform(3)]
    again = Draws(4)
    assert torch.equal(again.host().uniform(3), expected[0])
    assert torch.equal(again.uniform(3), expected[1])


def test_permutation_is_one():
    assert sorted(Draws(0).permutation(50).tolist()) == list(range(50))
