"""How good it is: metrics, calibration, what to label next, and the health of a run."""

from leaven.quality.accuracy import Estimate, HeldOut, best_estimate, estimate_accuracy
from leaven.quality.acquisition import label_next
from leaven.quality.c_bound import c_bound
from leaven.quality.calibration import (
    Reliability,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from leaven.quality.concept_density import ConceptDensity, concept_density
from leaven.quality.confidence import ConfidenceBins
from leaven.quality.detection import BoxMatches, DetectionScores, detection_scores, match_boxes
from leaven.quality.health import Finding, Health
from leaven.quality.instances import InstanceMeter
from leaven.quality.metrics import PerClass, classification_metrics, confusion, per_class
from leaven.quality.segmentation import SegmentationMeter, border_band, segmentation_metrics

__all__ = [
    "BoxMatches",
    "ConceptDensity",
    "ConfidenceBins",
    "DetectionScores",
    "Estimate",
    "Finding",
    "Health",
    "HeldOut",
    "InstanceMeter",
    "PerClass",
    "Reliability",
    "SegmentationMeter",
    "best_estimate",
    "border_band",
    "c_bound",
    "calibrate",
    "classification_metrics",
    "concept_density",
    "confusion",
    "detection_scores",
    "estimate_accuracy",
    "expected_calibration_error",
    "fit_temperature",
    "label_next",
    "match_boxes",
    "per_class",
    "reliability",
    "segmentation_metrics",
]
