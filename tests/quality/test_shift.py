"""Whether outputs on two sets of items lie apart."""

import pytest
import torch
from scipy.stats import ks_2samp

from leaven.quality.accuracy import Shift, shift_between


def outputs(count, seed, sharp=1.0, first=0.0):
    """What a network might say of ``count`` items of three classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 3, generator=generator) * 2 * sharp
    logits[:, 0] += first
    return logits.softmax(1)


def test_the_same_outputs_are_no_shift():
    probs = outputs(300, 0)
    assert shift_between(probs, probs.flip(0)) == Shift(0, 1)
    assert not shift_between(probs, probs).found


def test_distance_and_level_are_those_of_the_farthest_comparison():
    held_out, probs = outputs(200, 0), outputs(300, 1, first=1.0)
    found = shift_between(held_out, probs)
    pairs = [(held_out[:, k], probs[:, k]) for k in range(3)]
    pairs.append((held_out.max(1).values, probs.max(1).values))
    tests = [ks_2samp(a.double().numpy(), b.double().numpy()) for a, b in pairs]
    assert found.distance == pytest.approx(max(test.statistic for test in tests))
    assert found.p == pytest.approx(4 * min(test.pvalue for test in tests))
    assert found.found


def test_a_change_of_confidence_alone_is_a_shift():
    assert shift_between(outputs(500, 0, sharp=3), outputs(500, 1, sharp=0.3)).found
    apart = shift_between(torch.eye(2)[[0] * 5], torch.eye(2)[[1] * 5])
    assert apart.distance == 1 and apart.p == pytest.approx(3 * 2 / 252)


def test_what_is_certain_and_small_does_not_count():
    found = shift_between(outputs(20_000, 0), outputs(20_000, 1, first=0.15))
    assert found.p < 0.01 and found.distance < 0.1 and not found.found


def test_few_items_are_no_certain_shift():
    assert not shift_between(outputs(4, 0), outputs(4, 1, first=2.0)).found


def test_chance_is_rarely_called_a_shift():
    called = [shift_between(outputs(100, 2 * s), outputs(150, 2 * s + 1)).found for s in range(200)]
    assert sum(called) <= 2


@pytest.mark.parametrize("shapes", [((0, 3), (5, 3)), ((5, 3), (0, 3)), ((5, 3), (5, 2))])
def test_sets_that_cannot_be_compared(shapes):
    with pytest.raises(ValueError, match="statistics"):
        shift_between(*(torch.ones(shape) for shape in shapes))
