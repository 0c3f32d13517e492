"""Bounds and p-values against closed forms, SciPy and simulation."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from leaven.select.risk_bounds import (
    betting_bound,
    betting_p_value,
    binomial_p_value,
    clopper_pearson,
    conformal_risk,
    hoeffding_bentkus_p_value,
)

DELTA = 0.1
DRAWS = 2000
MARGIN = 3 * math.sqrt(DELTA * (1 - DELTA) / DRAWS)
"""Three standard deviations of a share of 2000 draws."""


def tensor(*values):
    return torch.tensor(values)


def test_clopper_pearson_is_the_quantile_of_a_beta_distribution():
    bound = clopper_pearson(tensor(0, 3, 150), tensor(149, 200, 151), 0.05)
    expected = stats.beta.ppf(0.95, [1, 4, 151], [149, 197, 1])
    assert bound.numpy() == pytest.approx(expected)
    assert float(clopper_pearson(tensor(0), tensor(149), 0.05)) == pytest.approx(
        1 - 0.05 ** (1 / 149)
    )


def test_nothing_is_known_without_items_or_when_all_are_wrong():
    assert clopper_pearson(tensor(0, 7), tensor(0, 7), 0.05).tolist() == [1, 1]
    assert binomial_p_value(tensor(0, 7), tensor(0, 7), 0.02).tolist() == [1, 1]
    assert betting_p_value(torch.zeros(0, 3), 0.02, 0.05).tolist() == [1, 1, 1]
    assert betting_p_value(torch.ones(50, 1), 0.02, 0.05).tolist() == [1]
    assert conformal_risk(torch.zeros(0, 2)).tolist() == [1, 1]


@pytest.mark.parametrize("wrong", [0, 1, 4])
def test_the_exact_test_rejects_where_the_exact_bound_is_low_enough(wrong):
    counts = torch.arange(10, 800, 7)
    rejected = binomial_p_value(torch.full_like(counts, wrong), counts, 0.02) <= 0.05
    bounded = clopper_pearson(torch.full_like(counts, wrong), counts, 0.05) <= 0.02
    assert torch.equal(rejected, bounded)
    assert bool(rejected.any())
    assert not bool(rejected.all())


def test_a_test_of_very_many_others_is_that_of_a_population():
    wrong, count = tensor(0, 2, 9), tensor(100, 300, 500)
    of_all = binomial_p_value(wrong, count, 0.02)
    finite = binomial_p_value(wrong, count, 0.02, torch.full((3,), 10**7))
    assert finite.tolist() == pytest.approx(of_all.tolist(), rel=1e-3)
    assert bool((binomial_p_value(wrong, count, 0.02, torch.full((3,), 200)) >= of_all).all())


@pytest.mark.parametrize("others", [1, 30, 200])
@pytest.mark.parametrize("wrong", [0, 2])
def test_the_test_of_some_others_is_the_worst_case_over_how_many_are_wrong(wrong, others):
    count, risk = 60, 0.1
    allowed = math.floor(risk * others)
    worst = max(
        stats.hypergeom.cdf(min(wrong, total - allowed - 1), count + others, total, count)
        for total in range(allowed + 1, count + others + 1)
    )
    found = binomial_p_value(tensor(wrong), tensor(count), risk, tensor(others))
    assert float(found) == pytest.approx(max(worst, stats.binom.cdf(wrong, count, risk)))


def test_a_promise_of_these_items_is_broken_no_more_often_than_stated():
    # 300 items, 13 wrong; 200 of them are held out. The other 100 may have 5 wrong ones.
    draw = np.random.default_rng(0)
    wrong = np.arange(300) < 13
    seen = np.array([draw.permutation(wrong)[:200].sum() for _ in range(DRAWS)])
    p = binomial_p_value(torch.from_numpy(seen), tensor(200), 0.05, tensor(100)).numpy()
    broken = (p <= DELTA) & (13 - seen > 5)
    assert (p <= DELTA).any()
    assert broken.mean() <= DELTA + MARGIN


def test_hoeffding_bentkus_from_its_formula():
    mean, count, risk = 0.01, 400, 0.05
    divergence = mean * math.log(mean / risk) + (1 - mean) * math.log((1 - mean) / (1 - risk))
    bentkus = math.e * stats.binom.cdf(4, count, risk)
    found = hoeffding_bentkus_p_value(tensor(mean, 0.05, 1.0), count, risk)
    assert float(found[0]) == pytest.approx(min(math.exp(-count * divergence), bentkus))
    assert found[1:].tolist() == [1, 1]
    none = hoeffding_bentkus_p_value(tensor(0.0), 149, 0.02)
    assert float(none) == pytest.approx(0.98**149)


def test_betting_against_losses_from_its_formula():
    losses = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3
    delta, risk, others = 0.05, 0.2, 25
    total = float(losses.sum())
    for finite in (False, True):
        before, spread, mean_sum, capital, most = 0.0, 0.25, 0.5, 1.0, 1.0
        squares = 0.25
        for i, loss in enumerate(losses.tolist(), 1):
            stake = min(1.0, math.sqrt(2 * math.log(1 / delta) / (40 * spread)))
            expected = risk
            if finite:
                expected = (total + risk * others - before) / (40 + others - i + 1)
            capital *= 1 + stake * (expected - loss)
            most = max(most, capital)
            before += loss
            mean_sum += loss
            squares += (loss - mean_sum / (i + 1)) ** 2
            spread = squares / (i + 1)
        found = betting_p_value(losses[:, None], risk, delta, others if finite else None)
        assert float(found) == pytest.approx(1 / most)


def two_point(generator, count, high, share):
    """(DRAWS, count) losses that are ``high`` with probability ``share``, else 0."""
    return (torch.rand(DRAWS, count, generator=generator, dtype=torch.float64) < share) * high


@pytest.mark.parametrize(("high", "share"), [(1.0, 0.1), (0.2, 0.5), (0.1, 1.0)])
def test_p_values_of_a_mean_that_is_not_below_the_risk_are_rarely_small(high, share):
    losses = two_point(torch.Generator().manual_seed(1), 100, high, share)
    assert high * share == pytest.approx(0.1)
    betting = betting_p_value(losses.T, 0.1, DELTA)
    assert float((betting <= DELTA).double().mean()) <= DELTA + MARGIN
    closed = hoeffding_bentkus_p_value(losses.mean(1), 100, 0.1)
    assert float((closed <= DELTA).double().mean()) <= DELTA + MARGIN


def test_betting_on_a_part_of_few_items_is_rarely_wrong_about_the_rest():
    generator = torch.Generator().manual_seed(2)
    population = torch.rand(120, generator=generator, dtype=torch.float64) ** 4
    orders = torch.stack([torch.randperm(120, generator=generator) for _ in range(DRAWS)])
    drawn = population[orders]
    risk = float(population.mean())
    small = betting_p_value(drawn[:, :80].T, risk, DELTA, others=40) <= DELTA
    broken = small & (drawn[:, 80:].mean(1) > risk)
    assert bool(small.any())
    assert float(broken.double().mean()) <= DELTA + MARGIN


def test_betting_sees_more_than_closed_forms_where_losses_vary_little():
    losses = torch.full((200, 1), 0.04, dtype=torch.float64)
    assert float(betting_p_value(losses, 0.1, 0.05)) < 1e-3
    assert float(hoeffding_bentkus_p_value(tensor(0.04), 200, 0.1)) > 1e-3


def test_p_values_fall_with_the_risk_and_rise_with_the_losses():
    risks = torch.linspace(0.01, 0.9, 30)
    losses = torch.rand(60, 1, generator=torch.Generator().manual_seed(3)) * 0.2
    p = betting_p_value(losses.expand(60, 30), risks, 0.05)
    assert bool((p.diff() <= 1e-12).all())
    wrong = torch.arange(20)
    assert bool((binomial_p_value(wrong, torch.full((20,), 100), 0.1).diff() > 0).all())
    assert bool((clopper_pearson(wrong, torch.full((20,), 100), 0.1).diff() > 0).all())


def test_the_betting_bound_is_the_risk_that_is_just_rejected():
    losses = torch.rand(150, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 0.1
    bound = betting_bound(losses, 0.05)
    assert 0.05 < bound < 0.12
    assert float(betting_p_value(losses[:, None], bound, 0.05)) <= 0.05
    assert float(betting_p_value(losses[:, None], bound - 1e-6, 0.05)) > 0.05
    assert betting_bound(torch.zeros(0), 0.05) == pytest.approx(1.0)


def test_conformal_risk_counts_the_item_to_come_as_wrong():
    losses = torch.tensor([[0.0, 1.0], [0.5, 1.0], [0.1, 1.0]])
    assert conformal_risk(losses).tolist() == pytest.approx([1.6 / 4, 1.0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: clopper_pearson(tensor(3), tensor(2), 0.05),
        lambda: clopper_pearson(tensor(-1), tensor(2), 0.05),
        lambda: clopper_pearson(tensor(1), tensor(2), 1.0),
        lambda: binomial_p_value(tensor(1), tensor(2), 0.0),
        lambda: hoeffding_bentkus_p_value(tensor(1.5), 10, 0.1),
        lambda: hoeffding_bentkus_p_value(tensor(0.5), 0, 0.1),
        lambda: betting_p_value(torch.full((3, 1), 1.5), 0.1, 0.05),
        lambda: betting_p_value(torch.full((3, 1), math.nan), 0.1, 0.05),
        lambda: betting_p_value(torch.zeros(3, 1), 1.0, 0.05),
        lambda: betting_p_value(torch.zeros(3), 0.1, 0.05),
        lambda: betting_p_value(torch.zeros(3, 1), 0.1, 0.0),
    ],
)
def test_numbers_that_mean_nothing_are_refused(call):
    with pytest.raises(ValueError):
        call()
