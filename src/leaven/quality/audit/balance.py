"""How evenly labels are spread over classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RARE = 5.0
"""A class with so many times fewer labels than an equal share is rare."""


@dataclass(frozen=True)
class Balance:
    """The labels of K classes.

    Attributes:
        counts: (K,) int64.
        ratio: the largest over the smallest count; infinite where a class has none.
        evenness: the entropy of the shares over ``log K``: 1 where all classes have equally many.
        rare: (K,) bool, fewer than a fifth of an equal share.
    """

    counts: Tensor
    ratio: float
    evenness: float
    rare: Tensor

    @property
    def severity(self) -> Tensor:
        """(K,) float64 in [0, 1]: how much of an equal share a class lacks."""
        equal = self.counts.double().mean().clamp_min(1e-12)
        return (1 - self.counts / equal).clamp_min(0)


def class_balance(counts: Tensor) -> Balance:
    """The balance of classes with ``counts`` (K,) labels.

    Raises:
        ValueError: no class or a negative count.
    """
    if counts.ndim != 1 or len(counts) == 0 or int(counts.min()) < 0:
        raise ValueError(f"counts are (K,) of 0 or more, not {counts.tolist()}")
    total, least = int(counts.sum()), int(counts.min())
    shares = counts.double() / max(1, total)
    entropy = float(-(shares * shares.clamp_min(1e-300).log()).sum())
    several = len(counts) > 1 and total > 0
    return Balance(
        counts,
        int(counts.max()) / least if least else (math.inf if total else 1.0),
        entropy / math.log(len(counts)) if several else 1.0,
        counts * RARE < counts.double().mean() if several else torch.zeros(len(counts)).bool(),
    )
