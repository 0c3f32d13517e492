"""The expected change of the promise, against linear programs and enumeration."""

import itertools

import pytest
import torch
from scipy.optimize import linprog

from leaven.quality.acquisition import Acceptance, directions, promise_gain


def linear_program(confidence, target):
    """The most labels, parts of one counted, whose expected accuracy is the target."""
    found = linprog(
        [-1.0] * len(confidence),
        A_ub=[[target - float(q) for q in confidence]],
        b_ub=[0.0],
        bounds=[(0, 1)] * len(confidence),
    )
    return -found.fun


def chances(n, seed, low=0.3):
    return low + (1 - low) * torch.rand(n, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("target", [0.5, 0.8, 0.95])
def test_the_number_is_that_of_the_linear_program(seed, target):
    confidence = chances(40, seed)
    found = Acceptance.of(confidence, target)
    assert found.number == pytest.approx(linear_program(confidence, target), abs=1e-6)
    if not found.everything:
        assert float(found.value(confidence).sum()) == pytest.approx(found.number, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_gained_bounds_what_is_gained_and_is_near_it(seed):
    confidence, target = chances(400, seed, low=0.4), 0.85
    acceptance = Acceptance.of(confidence, target)
    gain = acceptance.gain(confidence)
    for item in range(0, 400, 37):
        known = confidence.clone()
        known[item] = 1
        actual = linear_program(known, target) - acceptance.number
        assert actual <= float(gain[item]) + 1e-6
        assert actual == pytest.approx(float(gain[item]), rel=0.1, abs=0.05)


def test_all_none_and_weighted_labels():
    every = Acceptance.of(torch.tensor([0.9, 0.99]), 0.9)
    assert every.everything and every.number == 2
    assert every.gain(torch.tensor([0.2])).tolist() == [0]
    assert every.gain_of_check(torch.tensor([0.2])).tolist() == [0]
    none = Acceptance.of(torch.tensor([0.5, 0.6]), 0.9)
    assert none.number == 0 and none.threshold == pytest.approx(0.6)
    assert none.gain(torch.tensor([0.5])).tolist() == pytest.approx([0.4 / 0.3])
    assert Acceptance.of(torch.zeros(0), 0.9).number == 0
    confidence, count = torch.tensor([0.99, 0.9, 0.7]), torch.tensor([2, 3, 4])
    weighted = Acceptance.of(confidence, 0.85, count)
    repeated = Acceptance.of(confidence.repeat_interleave(count), 0.85)
    assert weighted.number == pytest.approx(repeated.number)
    assert weighted.threshold == pytest.approx(repeated.threshold)
    for target in (0, 1, 1.5):
        with pytest.raises(ValueError, match="target"):
            Acceptance.of(confidence, target)


def test_a_checked_box_never_costs():
    confidence = chances(200, 3, low=0.0)
    acceptance = Acceptance.of(confidence, 0.8)
    gain = acceptance.gain_of_check(confidence)
    assert (gain >= -1e-9).all()
    assert float(gain[confidence.argmax()]) < float(gain.max())
    value = acceptance.value(torch.tensor([0.7, 1.0]).double())
    wanted = 0.7 * float(value[1]) - float(value[0])
    assert float(acceptance.gain_of_check(torch.tensor(0.7).double())) == pytest.approx(wanted)


def coupled(p_i, p_j, s, y):
    """p_j given that item i is of class y, by the joint table of the two labels."""
    k = len(p_i)
    least = torch.minimum(p_i, p_j)
    table = torch.diag(least)
    over_i, over_j = p_i - least, p_j - least
    if over_i.sum() > 0:
        table = table + over_i[:, None] * over_j[None] / over_i.sum()
    table = s * table + (1 - s) * p_i[:, None] * p_j[None]
    assert torch.allclose(table.sum(1), p_i) and torch.allclose(table.sum(0), p_j)
    assert table.shape == (k, k)
    return table[y] / p_i[y]


@pytest.mark.parametrize("seed", range(4))
def test_the_gain_equals_enumeration(seed):
    generator = torch.Generator().manual_seed(seed)
    n, k, target = 12, 4, 0.8
    probs = (2 * torch.randn(n, k, generator=generator)).softmax(1)
    unit = directions(probs, torch.randn(n, 3, generator=generator))
    acceptance = Acceptance.of(probs.amax(1), target)
    found = promise_gain(probs, unit, target)
    for i in range(n):
        cosine = unit @ unit[i]
        cosine[i] = -2
        near = cosine.topk(10).indices.tolist()
        gain = float(acceptance.gain(probs[i].max()))
        for j, y in itertools.product(near, range(k)):
            s = max(0.0, float(cosine[j]))
            after = coupled(probs[i], probs[j], s, y).max()
            change = acceptance.value(after) - acceptance.value(probs[j].max())
            gain += float(probs[i, y] * change)
        assert float(found[i]) == pytest.approx(gain, rel=1e-3, abs=1e-3)
    some = promise_gain(probs, unit, target, torch.tensor([5, 2]))
    torch.testing.assert_close(some, found[[5, 2]])


def test_unsure_items_among_their_like_gain_most():
    """Ten alike items that are nearly sure enough, one that resembles none, and sure ones."""
    like = torch.tensor([0.85, 0.15]).repeat(10, 1)
    alone = torch.tensor([[0.85, 0.15]])
    sure = torch.tensor([0.95, 0.05]).repeat(5, 1)
    probs = torch.cat([like, alone, sure])
    unit = torch.nn.functional.one_hot(torch.tensor([0] * 10 + [*range(1, 7)])).float()
    gain = promise_gain(probs, unit, 0.9)
    assert float(gain[:10].min()) > 2 * float(gain[10])
    assert float(gain[10]) >= float(gain[11:].max())
    assert (gain >= 0).all()


def test_nothing_is_gained_where_all_is_accepted_and_of_one_item():
    probs = torch.tensor([0.99, 0.01]).repeat(4, 1)
    unit = torch.ones(4, 1)
    assert promise_gain(probs, unit, 0.9).tolist() == [0] * 4
    alone = promise_gain(torch.tensor([[0.6, 0.4]]), torch.ones(1, 1), 0.9)
    assert alone.tolist() == pytest.approx([0.4 / 0.3])
    assert promise_gain(probs[:0], unit[:0], 0.9).shape == (0,)
    one = promise_gain(torch.ones(3, 1), torch.ones(3, 1), 0.9)
    assert one.tolist() == [0, 0, 0]


def test_many_classes_are_cut_to_the_likeliest():
    probs = torch.randn(30, 40, generator=torch.Generator().manual_seed(0)).mul(3).softmax(1)
    unit = directions(probs, None)
    gain = promise_gain(probs, unit, 0.7)
    assert gain.shape == (30,) and gain.isfinite().all() and (gain >= 0).all()
