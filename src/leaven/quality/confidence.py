"""Calibration of pixels and boxes: counted batch by batch, and used where the truth is unknown."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from leaven.quality.calibration import Reliability


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

    def worth(self, confidence: Tensor) -> Tensor:
        """How often predictions of such ``confidence`` (...) in [0, 1] are right, judged by those that
        were counted.

        A function that never falls is fitted to the accuracies of the bins, weighted by how many are
        in them (isotonic regression), and is linear between their mean confidences: what stands for
        a bin without any, or with few. All ``confidence`` as it is where nothing was counted.

        Returns:
            (...) float64 on the CPU.

        Source: Zadrozny and Elkan, KDD 2002.
        """
        exact = confidence.double().cpu()
        filled = self._count > 0
        if not bool(filled.any()):
            return exact
        count = self._count[filled].double()
        places = (self._confidence[filled] / count).numpy()
        accuracy = (self._right[filled] / count).numpy()
        fitted = isotonic_regression(accuracy, weights=count.numpy()).x
        return torch.from_numpy(np.interp(exact.numpy(), places, fitted))

    def reliability(self) -> Reliability:
        """The diagram as numbers; its ``error`` is the calibration error."""
        return Reliability(
            self._edges,
            self._confidence / self._count,
            self._right.double() / self._count,
            self._count,
        )
