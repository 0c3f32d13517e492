"""Whether a model says other things of new items than of held-out ones: a sign that they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
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

    def as_dict(self) -> dict[str, Any]:
        return {"distance": self.distance, "p": self.p, "found": self.found}


def shift_between(held_out: Tensor, probs: Tensor) -> Shift:
    """Two-sample tests of the outputs, class by class and of the confidence (BBSD).

    ``shift_of`` the K probabilities and the largest of them. Classes that are more frequent in one of
    the sets are a shift, too. A model that has learnt from the items of one set may be surer of these
    for that reason alone.

    Args:
        held_out: (m, K) what the model says of items of the kind that it was made for.
        probs: (n, K) what it says of the others.

    Raises:
        ValueError: a set without items, or other numbers of classes.

    Source: Rabanser et al., "Failing loudly", NeurIPS 2019.
    """
    first, second = (
        torch.cat([rows, rows.max(1, keepdim=True).values], 1) if len(rows) else rows
        for rows in (held_out.cpu(), probs.cpu())
    )
    return shift_of(first, second)


def shift_of(first: Tensor, second: Tensor) -> Shift:
    """How far statistics of two sets of items lie apart: the farthest of them, over all.

    For each statistic ``s`` the distance between its distributions in the two sets,
    ``D_s = sup_t |F_s(t) - G_s(t)|``, with its Kolmogorov-Smirnov test.

    Args:
        first: (m, S) of the items of one set.
        second: (n, S) of those of the other.

    Raises:
        ValueError: a set without items, or other numbers of statistics.
    """
    if len(first) == 0 or len(second) == 0 or first.shape[1] != second.shape[1]:
        raise ValueError(f"statistics {tuple(first.shape)} and {tuple(second.shape)}")
    pairs = zip(first.cpu().double().unbind(1), second.cpu().double().unbind(1), strict=True)
    tests = [ks_2samp(a.numpy(), b.numpy()) for a, b in pairs]
    least = min(float(test.pvalue) for test in tests)
    return Shift(max(float(test.statistic) for test in tests), min(1.0, least * len(tests)))
