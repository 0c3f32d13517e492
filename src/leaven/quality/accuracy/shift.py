"""Whether a model says other things of new items than of held-out ones: a sign that they differ."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import ks_2samp
from torch import Tensor

SURE = 0.01
"""Level of the test; far fewer false alarms than one run in twenty."""

FAR = 0.1
"""Least distance that counts: with many items a difference without any weight is certain, too."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far what a model says of two sets of items lies apart.

    Attributes:
        distance: the largest Kolmogorov-Smirnov distance, in [0, 1].
        p: of that, times the number of comparisons (Bonferroni), at most 1.
    """

    distance: float
    p: float

    @property
    def found(self) -> bool:
        """Certain (``p`` below ``SURE``), and large enough to matter (``FAR``)."""
        return self.p < SURE and self.distance >= FAR


def shift_between(held_out: Tensor, probs: Tensor) -> Shift:
    """Two-sample tests of the outputs, class by class and of the confidence (BBSD).

    For each class ``k``, and for the largest probability, the distance between the distributions
    ``D_k = sup_t |F_k(t) - G_k(t)|`` of the two sets, with its Kolmogorov-Smirnov test. Classes that
    are more frequent in one of the sets are a shift, too. A model that has learnt from the items of
    one set may be surer of these for that reason alone.

    Args:
        held_out: (m, K) what the model says of items of the kind that it was made for.
        probs: (n, K) what it says of the others.

    Raises:
        ValueError: a set without items, or other numbers of classes.

    Source: Rabanser et al., "Failing loudly", NeurIPS 2019.
    """
    if len(held_out) == 0 or len(probs) == 0 or held_out.shape[1] != probs.shape[1]:
        raise ValueError(f"outputs {tuple(held_out.shape)} and {tuple(probs.shape)}")
    first, second = (
        [*rows.cpu().double().unbind(1), rows.cpu().double().max(1).values]
        for rows in (held_out, probs)
    )
    tests = [ks_2samp(a.numpy(), b.numpy()) for a, b in zip(first, second, strict=True)]
    least = min(float(test.pvalue) for test in tests)
    return Shift(max(float(test.statistic) for test in tests), min(1.0, least * len(tests)))
