"""Does a model that says 0.9 get nine of ten right? Measuring it, mending it, and using it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TEMPERATURES = (0.05, 20.0)
"""The range of fitted temperatures. Outside it the likelihood has no minimum worth the name: all
held-out items are right by a wide margin (towards 0), or the logits say nothing (towards infinity)."""

LEAST_LOGIT = -1e4
"""Logits are taken relative to the row's largest and not below this, so that a probability of 0
costs much, but not infinitely much."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Items grouped by confidence into bins of equal width.

    Attributes:
        edges: (bins + 1,) the limits of the bins; bin i holds confidences in (edge i, edge i+1].
        confidence: (bins,) mean confidence; NaN in an empty bin.
        accuracy: (bins,) share of right predictions; NaN in an empty bin.
        count: (bins,) int64, number of items.
    """

    edges: Tensor
    confidence: Tensor
    accuracy: Tensor
    count: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error: ``sum_i count_i / n * |accuracy_i - confidence_i|``."""
        gap = (self.accuracy - self.confidence).abs().nan_to_num(0.0)
        return float((gap * self.count).sum() / self.count.sum().clamp_min(1))

    def as_dict(self) -> dict[str, list[float | None]]:
        """For JSON: the four fields, None for NaN."""
        return {
            name: [None if math.isnan(value) else value for value in getattr(self, name).tolist()]
            for name in ("edges", "confidence", "accuracy", "count")
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Sequence[float | None]]) -> Reliability:
        """What ``as_dict`` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        edges, confidence, accuracy = (
            torch.tensor(
                [math.nan if value is None else float(value) for value in stored[name]],
                dtype=torch.float64,
            )
            for name in ("edges", "confidence", "accuracy")
        )
        count = torch.tensor(stored["count"], dtype=torch.int64)
        if not len(edges) - 1 == len(confidence) == len(accuracy) == len(count) > 0:
            raise ValueError("a reliability diagram has one edge more than bins")
        return cls(edges, confidence, accuracy, count)


def reliability(probs: Tensor, truth: Tensor, bins: int = 15) -> Reliability:
    """The reliability diagram of ``probs`` (n, K) against ``truth`` (n,), as numbers.

    A prediction is the argmax, its confidence the max. Items of unknown truth (-1) are left out.

    Source: Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised learning",
    ICML 2005; Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    known = truth >= 0
    confidence, predicted = probs[known].double().max(1)
    right = (predicted == truth[known]).double()
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=probs.device)
    place = torch.bucketize(confidence, edges[1:-1])
    count = torch.bincount(place, minlength=bins)
    return Reliability(
        edges,
        torch.bincount(place, confidence, minlength=bins) / count,
        torch.bincount(place, right, minlength=bins) / count,
        count,
    )


def expected_calibration_error(probs: Tensor, truth: Tensor, bins: int = 15) -> float:
    """``sum_i count_i / n * |accuracy_i - confidence_i|`` over ``bins`` bins of confidence, in [0, 1].

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    return reliability(probs, truth, bins).error


def fit_temperature(logits: Tensor, truth: Tensor, steps: int = 60) -> float:
    """The temperature that makes ``softmax(logits / temperature)`` most likely on held-out items.

    Minimises ``NLL(b) = mean_i [logsumexp(b * z_i) - b * z_i[y_i]]`` over the inverse temperature
    ``b``. NLL is convex in b, with slope ``mean(E_p[z] - z_y)`` and curvature ``mean(Var_p[z])``:
    Newton steps, kept inside a bracket that halves where a step would leave it.

    Args:
        logits: (n, K) logits or log-probabilities.
        truth: (n,) class indices; items of unknown truth (-1) are left out.

    Returns:
        The temperature, within ``TEMPERATURES``. Above 1 the model was over-confident.

    Raises:
        ValueError: no item has a known truth.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    known = truth >= 0
    if not bool(known.any()):
        raise ValueError("a temperature needs at least one item with a known truth")
    z = logits[known].double()
    z = (z - z.max(1, keepdim=True).values).clamp_min(LEAST_LOGIT)
    z_true = z.gather(1, truth[known, None]).squeeze(1)

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if _slope(z, z_true, low)[0] >= 0:
        return TEMPERATURES[1]
    if _slope(z, z_true, high)[0] <= 0:
        return TEMPERATURES[0]
    inverse = 1.0
    for _ in range(steps):
        slope, curvature = _slope(z, z_true, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        proposal = inverse - slope / curvature if curvature > 0 else low
        after = proposal if low < proposal < high else (low + high) / 2
        if abs(after - inverse) <= 1e-10 * inverse:
            break
        inverse = after
    return 1 / inverse


def calibrate(probs: Tensor, temperature: float) -> Tensor:
    """``softmax(log(probs) / temperature)`` (n, K): the same ranking, other confidence."""
    return (probs.double().log().clamp_min(LEAST_LOGIT) / temperature).softmax(1).to(probs.dtype)


def _slope(z: Tensor, z_true: Tensor, inverse: float) -> tuple[float, float]:
    """The first and second derivative of the mean NLL with respect to the inverse temperature."""
    probs = (z * inverse).softmax(1)
    mean = (probs * z).sum(1)
    variance = (probs * (z - mean[:, None]).square()).sum(1)
    return float((mean - z_true).mean()), float(variance.mean())
