"""Confidence that is lost on the way to other pictures is accuracy that is lost."""

from __future__ import annotations

from torch import Tensor

from leaven.quality.accuracy.confidence import average_confidence
from leaven.quality.accuracy.held_out import HeldOut


def difference_of_confidences(probs: Tensor, source: HeldOut, temperature: float = 1.0) -> float:
    """``acc_S - (conf_S - conf_T)``, cut off at 0 and 1.

    ``acc_S`` and ``conf_S`` are the accuracy and the mean confidence on the ``source`` items,
    ``conf_T`` the mean confidence here. So the miscalibration of the source is taken out, and one
    point of confidence counts as one point of accuracy (the paper also fits the exchange rate, on
    many shifts with labels).

    Args:
        probs: (n, K) rows that sum to 1, n >= 1.
        source: labelled items of the kind that the model was made for.
        temperature: of both confidences.

    Raises:
        ValueError: no items.

    Source: Guillory et al., Predicting with confidence on unseen distributions, ICCV 2021.
    """
    lost = average_confidence(source.probs, temperature) - average_confidence(probs, temperature)
    return min(1.0, max(0.0, source.accuracy - lost))
