"""A threshold and a weight for each class of boxes, by how many of it have been accepted."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassMass(nn.Module):
    """How much certainty of each class passes, and what follows from it.

    A running mean over batches of the certainty that passes::

        m_c   <- momentum m_c + (1 - momentum) sum of q over the boxes of class c that pass
        r_c    = max(m_c / max_k m_k, floor)
        tau_c  = threshold r_c^bend                     # the most frequent class keeps threshold
        lam_c  = min(r_c^-power, highest)               # at least 1, for the loss of class c

    Thresholds of a batch do not depend on it: ``note`` gathers what passed, ``settle`` takes it into
    the mean, after the step.

    State: ``mass`` (K,), 1 for each class at first; ``noted`` (K,), what is gathered.

    Args:
        num_classes: K.
        threshold: in [0, 1].
        bend: g1 >= 0.
        power: g2 >= 0.
        momentum: in [0, 1).
        floor: in (0, 1], the smallest share of the largest mass; 0 has no power.
        highest: the largest weight, >= 1.

    Raises:
        ValueError: a number out of its range.

    Source: Li et al., Rethinking Pseudo Labels for Semi-Supervised Object Detection, AAAI 2022.
    There is no code; the mean over batches, the floor and the largest weight are choices of this
    library. Used by: 020.
    """

    mass: Tensor
    noted: Tensor

    def __init__(
        self,
        num_classes: int,
        threshold: float = 0.7,
        bend: float = 0.05,
        power: float = 0.6,
        *,
        momentum: float = 0.999,
        floor: float = 1e-3,
        highest: float = 10.0,
    ) -> None:
        super().__init__()
        if not (0 <= threshold <= 1 and 0 <= momentum < 1 and 0 < floor <= 1):
            raise ValueError(
                f"threshold {threshold} is in [0, 1], momentum {momentum} in [0, 1), floor {floor} "
                "in (0, 1]"
            )
        if bend < 0 or power < 0 or highest < 1:
            raise ValueError(f"bend {bend} and power {power} are >= 0, highest {highest} >= 1")
        self.threshold, self.bend, self.power = threshold, bend, power
        self.momentum, self.floor, self.highest = momentum, floor, highest
        self.register_buffer("mass", torch.ones(num_classes))
        self.register_buffer("noted", torch.zeros(num_classes))

    @property
    def ratios(self) -> Tensor:
        """(K,) in [floor, 1]: the mass of each class over the largest."""
        return (self.mass / self.mass.max().clamp_min(1e-30)).clamp_min(self.floor)

    @property
    def thresholds(self) -> Tensor:
        """(K,) tau, at most ``threshold``."""
        return self.threshold * self.ratios**self.bend

    @property
    def weights(self) -> Tensor:
        """(K,) lam in [1, highest]."""
        return (self.ratios**-self.power).clamp_max(self.highest)

    @torch.no_grad()
    def note(self, certainty: Tensor, classes: Tensor) -> None:
        """Gathers the ``certainty`` (m,) in [0, 1] of boxes of ``classes`` (m,) that passed."""
        self.noted.index_add_(0, classes, certainty.to(self.noted))

    @torch.no_grad()
    def settle(self) -> None:
        """Takes what is gathered into the mean."""
        self.mass.lerp_(self.noted, 1 - self.momentum)
        self.noted.zero_()
