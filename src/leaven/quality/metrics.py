"""How right predictions and labels are, where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.labels.classes import ClassLabels
from leaven.quality.calibration import expected_calibration_error


def classification_metrics(probs: Tensor, truth: Tensor) -> dict[str, float]:
    """The usual figures of a classifier on items of known truth.

    With ``p_i = probs[i]``, ``y_i = truth[i]``, prediction ``argmax p_i``:

    - ``accuracy``: share of right predictions.
    - ``balanced_accuracy``: mean recall over the classes that occur in ``truth``.
    - ``macro_f1``: mean over the classes that occur (in ``truth`` or predicted) of
      ``2 tp / (2 tp + fp + fn)``.
    - ``nll``: ``-mean log p_i[y_i]``, in nats, each probability taken as at least float32's
      smallest normal number.
    - ``brier``: ``mean sum_k (p_ik - [y_i = k])^2``, in [0, 2].
    - ``ece``: expected calibration error with 15 bins.
    - ``confidence``: mean of ``max_k p_ik``; above the accuracy means over-confident.

    Args:
        probs: (n, K) probabilities.
        truth: (n,) class indices; items of unknown truth (-1) are left out.

    Raises:
        ValueError: the lengths differ, or no item has a known truth.
    """
    if len(probs) != len(truth):
        raise ValueError(f"probs has {len(probs)} rows, truth has {len(truth)}")
    known = truth >= 0
    probs, truth = probs[known].double(), truth[known]
    if len(truth) == 0:
        raise ValueError("metrics need at least one item with a known truth")
    confidence, predicted = probs.max(1)
    counts = confusion(predicted, truth, probs.shape[1]).double()
    right, actual, said = counts.diagonal(), counts.sum(1), counts.sum(0)
    p_true = probs.gather(1, truth[:, None]).squeeze(1)
    brier = probs.square().sum(1) - 2 * p_true + 1
    return {
        "accuracy": float(right.sum() / len(truth)),
        "balanced_accuracy": _mean_ratio(right, actual),
        "macro_f1": _mean_ratio(2 * right, actual + said),
        "nll": float(-p_true.clamp_min(torch.finfo(torch.float32).tiny).log().mean()),
        "brier": float(brier.mean()),
        "ece": expected_calibration_error(probs, truth),
        "confidence": float(confidence.mean()),
    }


def confusion(predicted: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Counts (K, K) int64: row = true class, column = predicted class.

    What is unknown (-1) in ``predicted`` (...) or ``truth`` (...) is left out; both have one shape,
    such as (n,) for items and (B, H, W) for pixels.
    """
    judged = (truth >= 0) & (predicted >= 0)
    # One more cell, the first, takes what is left out: that is faster than to pick the others.
    cell = torch.where(judged, truth * num_classes + predicted + 1, 0).flatten()
    counts = torch.bincount(cell, minlength=num_classes**2 + 1)
    return counts[1:].view(num_classes, num_classes)


@dataclass(frozen=True, slots=True)
class PerClass:
    """Accepted labels class by class, each field (K,).

    Attributes:
        support: int64, accepted labels of the class.
        share: of the accepted labels, those of the class, in [0, 1].
        precision: of the class's accepted labels with known truth, the share that is right.
        recall: of the items whose truth is the class, the share with that label accepted.

    Precision and recall are NaN where there is nothing to judge.
    """

    support: Tensor
    share: Tensor
    precision: Tensor
    recall: Tensor


def per_class(labels: ClassLabels, truth: Tensor, num_classes: int) -> PerClass:
    """Support, precision and recall of the accepted of ``labels`` against ``truth`` (n,)."""
    accepted = labels.accepted
    given = torch.where(accepted, labels.classes, -1)
    support = torch.bincount(given[accepted], minlength=num_classes)
    counts = confusion(given, truth, num_classes).double()
    actual = torch.bincount(truth[truth >= 0], minlength=num_classes)
    right = counts.diagonal()
    return PerClass(
        support=support,
        share=support.double() / support.sum().clamp_min(1),
        precision=right / counts.sum(0),
        recall=right / actual,
    )


def _mean_ratio(above: Tensor, below: Tensor) -> float:
    """The mean of ``above / below`` over the places where ``below`` is positive."""
    there = below > 0
    return float((above[there] / below[there]).mean())
