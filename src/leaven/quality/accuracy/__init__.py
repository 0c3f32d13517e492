"""How accurate a model is on pictures without labels, one file for each way to tell."""

from leaven.quality.accuracy.agreement import agreement
from leaven.quality.accuracy.confidence import average_confidence
from leaven.quality.accuracy.difference import difference_of_confidences
from leaven.quality.accuracy.estimate import (
    BEST_FIRST,
    ESTIMATORS,
    Estimate,
    best_estimate,
    estimate_accuracy,
)
from leaven.quality.accuracy.held_out import HeldOut
from leaven.quality.accuracy.likely import LikelyRange, likely_range
from leaven.quality.accuracy.perturbation import perturbation_radius
from leaven.quality.accuracy.shift import Shift, shift_between, shift_of
from leaven.quality.accuracy.threshold import AccuracyThreshold

__all__ = [
    "BEST_FIRST",
    "ESTIMATORS",
    "AccuracyThreshold",
    "Estimate",
    "HeldOut",
    "LikelyRange",
    "Shift",
    "agreement",
    "average_confidence",
    "best_estimate",
    "difference_of_confidences",
    "estimate_accuracy",
    "likely_range",
    "perturbation_radius",
    "shift_between",
    "shift_of",
]
