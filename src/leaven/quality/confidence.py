"""Calibration of pixels and boxes: counted batch by batch, and used where the truth is unknown."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.quality.calibration import LEAST_LOGIT, Reliability, calibrate


class ConfidenceBins:
    """The numbers of a reliability diagram, counted batch by batch from tensors of any shape.

    ``ece = sum_i count_i / n * |accuracy_i - confidence_i|`` over bins of equal width, as
    ``calibration.reliability`` gives it for all items at once.

    Args:
        bins: their number.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017; for boxes, with
    "right" meaning matched: Küppers et al., "Multivariate confidence calibration for object
    detection", CVPRW 2020 (D-ECE by confidence alone).
    """

    def __init__(self, bins: int = 15) -> None:
        self.bins = bins
        self._edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
        self._count = torch.zeros(bins, dtype=torch.int64)
        self._right = torch.zeros(bins, dtype=torch.int64)
        self._confidence = torch.zeros(bins, dtype=torch.float64)

    @torch.no_grad()
    def add(self, confidence: Tensor, right: Tensor, judged: Tensor | None = None) -> None:
        """Counts predictions with their ``confidence`` (...) in [0, 1].

        Args:
            right: (...) bool.
            judged: (...) bool, those that count; all when None.
        """
        exact = confidence.double().flatten()
        place = torch.bucketize(exact, self._edges[1:-1].to(exact.device))
        if judged is not None:
            place = torch.where(judged.flatten(), place, self.bins)
            exact = torch.where(judged.flatten(), exact, 0.0)
        cell = place * 2 + right.flatten()
        count = torch.bincount(cell, minlength=2 * self.bins + 2).view(-1, 2)[: self.bins].cpu()
        total = torch.bincount(place, exact, minlength=self.bins + 1)[: self.bins].cpu()
        self._count += count.sum(1)
        self._right += count[:, 1]
        self._confidence += total

    @property
    def total(self) -> int:
        """Predictions that were counted."""
        return int(self._count.sum())

    @property
    def confidence(self) -> float:
        """Mean confidence; NaN of nothing."""
        return float(self._confidence.sum() / self._count.sum())

    @property
    def accuracy(self) -> float:
        """The share that is right; NaN of nothing."""
        return float(self._right.sum() / self._count.sum())

    def reliability(self) -> Reliability:
        """The diagram as numbers; its ``error`` is the calibration error."""
        return Reliability(
            self._edges,
            self._confidence / self._count,
            self._right.double() / self._count,
            self._count,
        )


def pixels_as_items(logits: Tensor, truth: Tensor, most: int = 100_000) -> tuple[Tensor, Tensor]:
    """Evenly spaced pixels of known truth as the items that ``fit_temperature`` takes.

    Neighbouring pixels say nearly the same, so a part of them fits a temperature as well as all.

    Args:
        logits: (B, K, H, W).
        truth: (B, H, W), -1 for unknown.
        most: pixels that are returned, at most.

    Returns:
        (n, K) logits and (n,) truths.
    """
    known = (truth.flatten() >= 0).nonzero().squeeze(1)
    if len(known) > most:
        known = known[torch.arange(most, device=known.device) * len(known) // most]
    area = truth[0].numel() if len(truth) else 1
    rows = logits.flatten(2)[known // area, :, known % area]
    return rows, truth.flatten()[known]


def boxes_as_items(confidence: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes as the items of two classes, right and wrong, that ``fit_temperature`` takes.

    Args:
        confidence: (m,) in [0, 1].
        right: (m,) bool, the box is there; see ``detection.match_boxes``.

    Returns:
        (m, 2) logits ``[log c, log(1 - c)]`` and (m,) truths, 0 for right.
    """
    c = confidence.double()
    return torch.stack([c, 1 - c], 1).log().clamp_min(LEAST_LOGIT), (~right).long()


def estimate_pixel_accuracy(
    probs: Tensor, weight: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """What ``accuracy.average_confidence`` is for items, as a sum over the pixels of a batch.

    ``sum over weight_i > 0 of max_k softmax(log(probs_i) / temperature)_k`` and the number of such
    pixels; the estimate is the sum over all batches of the first by that of the second.

    Args:
        probs: (B, K, H, W).
        weight: (B, H, W) trust in [0, 1]; a pixel is accepted above 0.
        temperature: fitted on held-out pixels; 1 takes the confidence as it is.

    Returns:
        Two 0-d tensors, float64 and int64.
    """
    confidence = calibrate(probs, temperature).max(1).values.double()
    accepted = weight > 0
    return torch.where(accepted, confidence, 0.0).sum(), accepted.sum()


def estimate_box_accuracy(
    confidence: Tensor, weight: Tensor, temperature: float = 1.0
) -> float | None:
    """The precision that accepted boxes would have if the calibrated detector were right about itself.

    ``mean over weight_i > 0 of c_i^(1/T) / (c_i^(1/T) + (1 - c_i)^(1/T))``. It says nothing of the
    things that no box was proposed for.

    Args:
        confidence: (m,) in [0, 1].
        weight: (m,) trust in [0, 1]; a box is accepted above 0.
        temperature: fitted with ``boxes_as_items`` on held-out pictures; 1 for none.

    Returns:
        The estimate in [0, 1], or None when nothing is accepted.
    """
    accepted = confidence[weight > 0].double()
    if len(accepted) == 0:
        return None
    both = torch.stack([accepted, 1 - accepted], 1)
    return float(calibrate(both, temperature)[:, 0].mean())
