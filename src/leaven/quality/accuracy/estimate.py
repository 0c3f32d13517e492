"""How accurate a model is where nobody has given labels: every estimate that there is evidence for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.quality.accuracy.agreement import agreement
from leaven.quality.accuracy.confidence import average_confidence
from leaven.quality.accuracy.difference import difference_of_confidences
from leaven.quality.accuracy.held_out import HeldOut
from leaven.quality.accuracy.threshold import AccuracyThreshold, scores
from leaven.quality.calibration import LEAST_LOGIT, fit_temperature

ESTIMATORS: dict[str, str] = {
    "confidence": "mean confidence",
    "calibrated-confidence": "mean confidence, with the temperature of held-out items",
    "difference": "held-out accuracy less the confidence that is lost (DoC)",
    "atc-confidence": "share of items above a threshold of confidence (ATC)",
    "atc-entropy": "share of items above a threshold of negative entropy (ATC)",
    "agreement": "agreement with a second model (GDE)",
    "adapted": "agreement with a copy adapted to these pictures",
    "second-opinion": "agreement with that copy on adversarially changed pictures",
}
"""What there is, by name, in words."""

BEST_FIRST = (
    "second-opinion",
    "adapted",
    "atc-entropy",
    "atc-confidence",
    "agreement",
    "difference",
    "calibrated-confidence",
    "confidence",
)
"""The order in which they are believed: by their error on pictures of another kind than the held-out
ones, in the claim ``accuracy_shift``."""

OF_WHOLE_SETS = ("difference", "atc-confidence", "atc-entropy")
"""What holds of all items of a set, and not of those that were chosen by their confidence: these all
lie above the threshold, and have not gained as much accuracy as confidence."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate of the accuracy of a model on items without labels.

    Attributes:
        name: of the estimator, one of ``ESTIMATORS``.
        accuracy: in [0, 1].
        wrong: (n,) bool, the items where the model is probably wrong: where the opinions differ,
            or the least sure ones, as many as the estimate says.
    """

    name: str
    accuracy: float
    wrong: Tensor


def estimate_accuracy(
    probs: Tensor,
    *,
    weight: Tensor | None = None,
    held_out: HeldOut | None = None,
    second: Tensor | None = None,
    adapted: Tensor | None = None,
    perturbed: Tensor | None = None,
) -> dict[str, Estimate]:
    """The accuracy of a model on items whose labels nobody knows, by every estimator that can say.

    Args:
        probs: (n, K) what the model says of the items, rows that sum to 1.
        weight: (n,) trust; only items above 0 are counted. Where some are not, there is none of
            ``OF_WHOLE_SETS``. All when None.
        held_out: labelled items of the kind that the model was made for, which it was not trained
            on. For ``calibrated-confidence``, ``difference``, ``atc-confidence``, ``atc-entropy``.
        second: (n,) classes that a second model says, trained apart from the first. For
            ``agreement``.
        adapted: (n,) classes that a copy of the model says which was adapted to these very
            pictures without labels. For ``adapted``.
        perturbed: (n,) classes that this copy says of adversarially changed pictures. For
            ``second-opinion``; see ``methods.classification.second_opinion``.

    Returns:
        The estimates by name, in the order of ``ESTIMATORS``; empty where no item counts. Which of
        them to believe: ``best_estimate``.

    Raises:
        ValueError: numbers of rows or columns that do not fit each other.
    """
    counted = torch.ones(len(probs), dtype=torch.bool) if weight is None else weight.cpu() > 0
    others = {"agreement": second, "adapted": adapted, "second-opinion": perturbed}
    for name, classes in others.items():
        if classes is not None and classes.shape != probs.shape[:1]:
            raise ValueError(f"{name}: {tuple(classes.shape)} classes of {len(probs)} items")
    if held_out is not None and held_out.probs.shape[1] != probs.shape[1]:
        raise ValueError(
            f"{held_out.probs.shape[1]} classes of held-out items, and {probs.shape[1]} here"
        )
    if not bool(counted.any()):
        return {}
    rows = probs.cpu()[counted]
    found = {} if held_out is None else _by_held_out(rows, held_out)
    if not bool(counted.all()):
        found = {name: one for name, one in found.items() if name not in OF_WHOLE_SETS}
    found["confidence"] = _by_score("confidence", average_confidence(rows), rows)
    said = rows.argmax(1)
    for name, classes in others.items():
        if classes is not None:
            opinion = classes.cpu()[counted]
            found[name] = Estimate(name, agreement(said, opinion), said != opinion)
    return {
        name: Estimate(name, found[name].accuracy, _placed(found[name].wrong, counted))
        for name in ESTIMATORS
        if name in found
    }


def best_estimate(found: Mapping[str, Estimate]) -> Estimate | None:
    """The one to believe: the first of ``BEST_FIRST`` that there is; None of none."""
    return next((found[name] for name in BEST_FIRST if name in found), None)


def _by_held_out(probs: Tensor, held_out: HeldOut) -> dict[str, Estimate]:
    logits = held_out.probs.double().log().clamp_min(LEAST_LOGIT)
    temperature = fit_temperature(logits, held_out.truth)
    accuracies = {
        "calibrated-confidence": average_confidence(probs, temperature),
        "difference": difference_of_confidences(probs, held_out, temperature),
        "atc-confidence": AccuracyThreshold.fit(held_out, "confidence").accuracy(probs),
        "atc-entropy": AccuracyThreshold.fit(held_out, "entropy").accuracy(probs),
    }
    return {name: _by_score(name, accuracy, probs) for name, accuracy in accuracies.items()}


def _by_score(name: str, accuracy: float, probs: Tensor) -> Estimate:
    """The least sure items are the wrong ones, as many as the accuracy says."""
    sure = scores(probs, "entropy" if name == "atc-entropy" else "confidence")
    wrong = torch.zeros(len(probs), dtype=torch.bool)
    wrong[sure.argsort(stable=True)[: round((1 - accuracy) * len(probs))]] = True
    return Estimate(name, accuracy, wrong)


def _placed(wrong: Tensor, counted: Tensor) -> Tensor:
    """(n,) bool of all items from that of the counted ones."""
    placed = torch.zeros(len(counted), dtype=torch.bool)
    placed[counted] = wrong
    return placed
