"""Average thresholded confidence: as many are right as have a score above a learned threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from leaven.quality.accuracy.held_out import HeldOut

Score = Literal["confidence", "entropy"]


def scores(probs: Tensor, kind: Score) -> Tensor:
    """(n,) float64, how sure the model is of each item: ``max_k p_k``, or ``sum_k p_k log p_k``."""
    probs = probs.double()
    if kind == "confidence":
        return probs.max(1).values
    return -torch.special.entr(probs).sum(1)


@dataclass(frozen=True, slots=True)
class AccuracyThreshold:
    """Average thresholded confidence (ATC).

    ``t`` is such that as many source items lie below it as the model has wrong,
    ``1 / m sum_i 1[s_i < t] = 1 - acc_S``, and the accuracy elsewhere is estimated as the share of
    items that do not: ``1 / n sum_i 1[s_i >= t]``. Where several source items have the score ``t``,
    the share ``part`` of them counts, so that the estimate on the source itself is its accuracy.

    Attributes:
        value: ``t``; infinite where no source item is right.
        part: in [0, 1]; 1 where scores are distinct.
        kind: of the score.

    Source: Garg et al., Leveraging unlabeled data to predict out-of-distribution performance,
    ICLR 2022.
    """

    value: float
    part: float
    kind: Score

    @classmethod
    def fit(cls, source: HeldOut, kind: Score = "entropy") -> AccuracyThreshold:
        """The threshold of these source items."""
        sure = scores(source.probs, kind).sort().values
        right = int(source.right.sum())
        if right == 0:
            return cls(float("inf"), 0.0, kind)
        value = sure[len(sure) - right]
        above, equal = int((sure > value).sum()), int((sure == value).sum())
        return cls(float(value), (right - above) / equal, kind)

    def accuracy(self, probs: Tensor) -> float:
        """The estimate for items (n, K), in [0, 1].

        Raises:
            ValueError: no items.
        """
        if len(probs) == 0:
            raise ValueError("there is no accuracy of no items")
        sure = scores(probs, self.kind)
        above, equal = (sure > self.value).double(), (sure == self.value).double()
        return float((above + self.part * equal).mean())
