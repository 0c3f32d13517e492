"""Learn then test: choosing among thresholds so that the choice itself cannot break a promise.

A p-value for each threshold is valid for that one alone. The best of many is not: somewhere a bad
threshold looks good by luck. Two ways to choose with family-wise control are here; the positions of
p-values run from the strictest threshold to the laxest.

Source: Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then test: calibrating predictive
algorithms to achieve risk control", 2021 (AoAS 2025), section 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SEQUENCES = 2
"""Fixed sequences at most."""

ROOM = 1.5
"""A sequence begins where so many times the evidence it needs can be expected at best."""

SPARE = 2.5
"""There are as many sequences as the evidence at best is enough for so many times."""


def bonferroni(p_values: Tensor, delta: float) -> Tensor:
    """(T,) bool: the hypotheses that are rejected, ``p_t <= delta / T``.

    With a probability of at least ``1 - delta`` none of them is true, whatever depends on what. The
    same division makes promises of several classes hold together: ``delta / K`` for each.
    """
    return p_values <= delta / max(1, len(p_values))


def sequence_starts(potential: Tensor, delta: float) -> list[int]:
    """Where fixed sequences begin.

    Testing at the strictest thresholds is in vain: they accept too few held-out items to show
    anything. Later is safer, but a sequence never goes back to stricter ones. So J of them share
    ``delta``, J as large as ``potential`` allows (``SPARE``) and at most ``SEQUENCES``: the first
    begins where ``potential`` is ``ROOM log(J / delta)``, the others between that and the end, evenly
    in the logarithm.

    Args:
        potential: (T,) the ``-log p`` to be expected if no held-out item were wrong, from anything
            but the held-out labels.
        delta: in (0, 1).

    Returns:
        Positions in rising order, at most J; each sequence is tested at ``delta / J``, J their
        number. Empty for no thresholds.
    """
    if len(potential) == 0:
        return []
    most = float(potential.max())
    number = SEQUENCES
    while number > 1 and most < SPARE * math.log(number / delta):
        number //= 2
    least = ROOM * math.log(number / delta)
    if most <= least:
        return [int(potential.argmax())]
    wanted = [least * (most / least) ** (place / number) for place in range(number)]
    return sorted({int((potential >= level).int().argmax()) for level in wanted})


def fixed_sequences(p_values: Tensor, starts: list[int], delta: float) -> int:
    """The laxest threshold that a fixed sequence reaches; -1 when there is none.

    From each start thresholds are tested at ``delta / J`` in turn, one laxer than the other, up to
    the first that is not rejected; the laxest that was rejected counts.

    With a probability of at least ``1 - delta`` every threshold that was passed keeps its risk: in
    one sequence, the first threshold whose risk is too large is passed with a probability of at most
    ``delta / J``, and nothing behind it is reached without. The order and the starts must not depend
    on the labels of the held-out items.

    About a statement on *these very* further items (``others`` of the p-values), what is too much is
    itself random. There the same holds as long as one step lets in at most one more wrong held-out
    item: a sequence then ends either on the largest number of wrong ones that its threshold may
    have, which is right unless that threshold was to be refused, or at its end.
    """
    laxest = -1
    for start in starts:
        passed = p_values[start:] <= delta / len(starts)
        length = int(passed.int().cumprod(0).sum())
        if length:
            laxest = max(laxest, start + length - 1)
    return laxest


def thresholds_of(scores: Tensor, most: int) -> Tensor:
    """(T,) falling thresholds, each a score, that accept evenly more of ``scores`` (m,).

    At most ``most``, all different; the last one accepts all that are finite. Empty without scores.
    """
    ranks = torch.linspace(1, _finite(scores), min(most, _finite(scores)), dtype=torch.float64)
    return _at_ranks(scores, ranks)


def fine_thresholds_of(scores: Tensor, most: int) -> Tensor:
    """(T,) as ``thresholds_of``, at most ``most`` of which accept evenly more of ``scores`` (m,), and
    at most ``most`` further ones each the same multiple of what the one before accepts.

    Where hardly any of very many labels may be right, such as one of a thousand tags for each item,
    the second kind tells those apart that may be.
    """
    count = _finite(scores)
    even = torch.linspace(1, count, min(most, count), dtype=torch.float64)
    rising = torch.logspace(0, math.log10(max(1, count)), min(most, count), dtype=torch.float64)
    return _at_ranks(scores, torch.cat([even, rising]))


def _finite(scores: Tensor) -> int:
    return int(scores.isfinite().sum())


def _at_ranks(scores: Tensor, ranks: Tensor) -> Tensor:
    """(T,) the scores, falling and all different, that so many (1 and more) reach."""
    ranked = scores[scores.isfinite()].sort(descending=True).values
    chosen = ranked[ranks.round().long().unique() - 1]
    return chosen.unique_consecutive()
