"""What held-out items say about a risk, whatever the data are like: p-values and bounds.

All of them hold for a finite number of held-out items and assume one thing: that these are
exchangeable with the items that the risk is about, for example drawn from them at random. A p-value
below ``delta`` says that the risk is small; where it is not, that happens with a probability of at
most ``delta``.

Statistics are float64 on the CPU: they are made once, from thousands of numbers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

Floats = NDArray[np.float64]

ROUNDING = 1e-9
"""``0.02 * 50`` is to be one: products of a risk and a count may be off by so much."""


def clopper_pearson(wrong: Tensor, count: Tensor, delta: float) -> Tensor:
    """The upper bound of Clopper and Pearson of a share, from ``wrong`` of ``count`` items.

    ``U = BetaQuantile(1 - delta; wrong + 1, count - wrong)``, 1 where all are wrong or there are
    none. The share of an unlimited population is above U with a probability of at most ``delta``.

    Args:
        wrong, count: (...) whole numbers, ``0 <= wrong <= count``.
        delta: in (0, 1).

    Returns:
        (...) float64 in [0, 1].

    Raises:
        ValueError: numbers that are not so.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    x, n = _counts(wrong, count)
    _check(delta, "delta")
    bound = stats.beta.ppf(1 - delta, x + 1, np.maximum(n - x, ROUNDING))
    return torch.from_numpy(np.where(x == n, 1.0, bound))


def binomial_p_value(
    wrong: Tensor, count: Tensor, risk: float, others: Tensor | None = None
) -> Tensor:
    """The evidence against more than ``risk`` of the items being wrong: small is strong.

    Of items like the held-out ones, without limit: ``P(Bin(count, risk) <= wrong)``; it is at most
    ``delta`` where the bound of Clopper and Pearson is at most ``risk``.

    With ``others``, the number m of items that the statement is about, the larger one of that and

    ``P(X <= x)``,  X hypergeometric: ``count`` draws from ``count + m`` items, x + b + 1 of them
    wrong,  x = wrong,  b = floor(risk * m).

    For the second: let W of all items be wrong and X of these be among the held-out ones. The
    statement is false when X < W - b. Whatever W is, X <= x and X < W - b together are most likely
    for W = x + b + 1, because more wrong items mean stochastically more of them among the others.
    So with a probability of at most ``delta`` the p-value is at most ``delta`` while more than the
    share ``risk`` *of these very m items* is wrong. As m grows it becomes the first one.

    Args:
        wrong, count: (...) whole numbers, ``0 <= wrong <= count``.
        risk: in (0, 1).
        others: (...) whole numbers; None for a population without limit.

    Returns:
        (...) float64 in [0, 1]; 1 without held-out items.

    Raises:
        ValueError: numbers that are not so.
    """
    x, n = _counts(wrong, count)
    _check(risk, "risk")
    p = stats.binom.cdf(x, n, risk)
    if others is not None:
        m = others.detach().cpu().double().numpy()
        allowed = np.floor(risk * m + ROUNDING)
        # With every other item allowed to be wrong, or none there, nothing can go wrong.
        finite = stats.hypergeom.cdf(x, n + m, np.minimum(x + allowed + 1, n + m), n)
        p = np.maximum(p, np.where(allowed >= m, 0.0, finite))
    return torch.from_numpy(np.where(n > 0, p, 1.0))


def hoeffding_bentkus_p_value(mean: Tensor, count: int, risk: float) -> Tensor:
    """The evidence against a mean loss above ``risk``, from the mean of ``count`` losses in [0, 1].

    ``min(exp(-n h(min(mean, risk), risk)), e P(Bin(n, risk) <= ceil(n mean)))`` with
    ``h(a, b) = a log(a / b) + (1 - a) log((1 - a) / (1 - b))``: the inequalities of Hoeffding and
    Bentkus.

    Args:
        mean: (...) in [0, 1].
        count: n, at least 1.
        risk: in (0, 1).

    Returns:
        (...) float64 in [0, 1].

    Raises:
        ValueError: numbers that are not so.

    Source: Bates et al., "Distribution-free, risk-controlling prediction sets", J. ACM 2021, and
    Angelopoulos et al., "Learn then test", 2021, section 2.
    """
    _check(risk, "risk")
    found = mean.detach().cpu().double().numpy()
    if count < 1 or not bool(((found >= 0) & (found <= 1)).all()):
        raise ValueError(f"means of {count} losses in [0, 1] are needed")
    low = np.minimum(found, risk)
    divergence = stats.entropy(
        np.stack([low, 1 - low]), np.stack(np.broadcast_arrays(risk, 1 - risk, low)[:2])
    )
    bentkus = math.e * stats.binom.cdf(np.ceil(count * found - ROUNDING), count, risk)
    return torch.from_numpy(np.minimum(np.minimum(np.exp(-count * divergence), bentkus), 1.0))


def betting_p_value(
    losses: Tensor, risk: float | Tensor, delta: float, others: int | None = None
) -> Tensor:
    """The evidence against a mean loss above ``risk``, by betting against it.

    A player bets that losses ``L_1, ..., L_n`` in [0, 1] are below their mean ``a_i`` under the
    hypothesis, with stakes ``s_i`` that know the losses before:

    ``K_i = K_(i-1) (1 + s_i (a_i - L_i))``,  p-value ``1 / max_i K_i``, at most 1,
    ``s_i = min(1, sqrt(2 log(1 / delta) / (n v_(i-1))))``,
    ``u_i = (1/2 + sum_(j<=i) L_j) / (i + 1)``,  ``v_i = (1/4 + sum_(j<=i) (L_j - u_j)^2) / (i + 1)``.

    Under the hypothesis the capital K is a supermartingale that starts at 1, so that it ever reaches
    ``1 / delta`` with a probability of at most ``delta`` (Ville). Small losses of little variance
    win far more than the inequalities of Hoeffding and Bentkus give.

    Without ``others``, ``a_i = risk``: of all items of this kind. With ``others``, the number m of
    items that the statement is about, drawing is without replacement and
    ``a_i = (S + risk m - sum_(j<i) L_j) / (n + m - i + 1)``, S the sum of the held-out losses: the
    mean of what is left, if the losses of those m items sum to ``risk m``. Where they sum to more,
    the true capital is larger at every i, so that the p-value is below ``delta`` with a probability
    of at most ``delta``.

    Args:
        losses: (n, T) in [0, 1], the rows in random order; T risks are judged, each by itself.
        risk: in (0, 1), or (T,) of them.
        delta: the level that stakes are made for, in (0, 1); the p-value is valid at any level.
        others: m; None for a population without limit.

    Returns:
        (T,) float64 in (0, 1]; 1 without held-out items.

    Raises:
        ValueError: losses, a risk or a level that are not so.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
    JRSS B 2024, sections 4 and 5; stakes of Bates et al., J. ACM 2021, section 3.1.3.
    """
    _check(delta, "delta")
    found = _losses(losses)
    wanted = np.broadcast_to(
        np.asarray(torch.as_tensor(risk, dtype=torch.float64).cpu()), found.shape[1:]
    )
    for value in (wanted.min(initial=0.5), wanted.max(initial=0.5)):
        _check(float(value), "risk")
    count = len(found)
    if count == 0:
        return torch.ones(found.shape[1], dtype=torch.float64)
    before = np.vstack([np.zeros_like(found[:1]), found.cumsum(0)[:-1]])
    expected = wanted[None]
    if others is not None:
        left = count + others - np.arange(count)[:, None]
        expected = (found.sum(0) + wanted * others - before) / left
    capital = np.log1p(_stakes(found, delta) * (expected - found)).cumsum(0)
    return torch.from_numpy(np.exp(-np.maximum(capital.max(0), 0.0)))


def betting_bound(losses: Tensor, delta: float) -> float:
    """The least ``risk`` that ``betting_p_value`` rejects: an upper bound of the mean of losses.

    The mean is above it with a probability of at most ``delta``; 1 where nothing can be said.

    Args:
        losses: (n,) in [0, 1], in random order.
        delta: in (0, 1).

    Raises:
        ValueError: as ``betting_p_value``.
    """
    low, high = 0.0, 1.0
    one = losses.reshape(-1, 1)
    # The capital grows with the risk that is bet against: halving finds where it is enough.
    for _ in range(30):
        middle = (low + high) / 2
        if float(betting_p_value(one, middle, delta)) <= delta:
            high = middle
        else:
            low = middle
    return high


def conformal_risk(losses: Tensor) -> Tensor:
    """What to compare with the wanted risk in conformal risk control: ``(sum_i L_i + 1) / (n + 1)``.

    For losses in [0, 1] that do not rise with the strictness of a threshold, the strictness is
    chosen as the least one at which this is at most ``risk``. Then the *expected* loss of a further
    item, over the held-out items and that item, is at most ``risk``. This is a statement about the
    average of many runs, without a confidence about this one: see ``betting_p_value`` for that.

    Args:
        losses: (n, T) in [0, 1] at T thresholds.

    Returns:
        (T,) float64 in (0, 1]; 1 without held-out items.

    Raises:
        ValueError: losses outside [0, 1].

    Source: Angelopoulos et al., "Conformal risk control", ICLR 2024, theorem 1.
    """
    found = _losses(losses)
    return torch.from_numpy((found.sum(0) + 1) / (len(found) + 1))


def _stakes(losses: Floats, delta: float) -> Floats:
    """(n, T) how much is bet on each loss, from those before it."""
    count = len(losses)
    number = np.arange(1, count + 1)[:, None]
    mean = (0.5 + losses.cumsum(0)) / (number + 1)
    spread = (0.25 + ((losses - mean) ** 2).cumsum(0)) / (number + 1)
    before = np.vstack([np.full_like(losses[:1], 0.25), spread[:-1]])
    stakes: Floats = np.minimum(1.0, np.sqrt(2 * math.log(1 / delta) / (count * before)))
    return stakes


def _counts(wrong: Tensor, count: Tensor) -> tuple[Floats, Floats]:
    x, n = (values.detach().cpu().double().numpy() for values in (wrong, count))
    if not bool(((x >= 0) & (x <= n)).all()):
        raise ValueError("the wrong items are counted among all items")
    return x, n


def _losses(losses: Tensor) -> Floats:
    found: Floats = losses.detach().cpu().double().numpy()
    if found.ndim != 2 or not bool(((found >= -ROUNDING) & (found <= 1 + ROUNDING)).all()):
        raise ValueError("losses are (n, T) in [0, 1]")
    return found.clip(0, 1)


def _check(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}, not between 0 and 1")
