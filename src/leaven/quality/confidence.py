"""Calibration of pixels and boxes: counted batch by batch, and used where the truth is unknown."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from leaven.quality.accuracy.likely import LikelyRange, likely_range
from leaven.quality.calibration import Reliability


class ConfidenceBins:
    """The numbers of a reliability diagram, counted batch by batch from tensors of any shape, picture
    by picture.

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
        self._confidence = torch.zeros(bins, dtype=torch.float64)
        self._pictures: list[Tensor] = []

    @torch.no_grad()
    def add(
        self,
        confidence: Tensor,
        right: Tensor,
        judged: Tensor | None = None,
        picture: Tensor | None = None,
    ) -> None:
        """Counts predictions with their ``confidence`` (m, ...) in [0, 1].

        Args:
            right: (m, ...) bool.
            judged: (m, ...) bool, those that count; all when None.
            picture: (m,) int64, the picture that a row is of, from 0 in each call; each row is of
                one of its own when None.
        """
        exact, place = confidence.double(), self._place(confidence)
        if judged is not None:
            place = torch.where(judged, place, self.bins)
            exact = torch.where(judged, exact, 0.0)
        if picture is None:
            picture = torch.arange(len(confidence), device=confidence.device)
        rows = int(picture.max()) + 1 if len(picture) else 0
        of = picture.view(-1, *[1] * (confidence.ndim - 1))
        cell = ((of * (self.bins + 1) + place) * 2 + right).flatten()
        count = torch.bincount(cell, minlength=rows * (self.bins + 1) * 2)
        self._pictures.append(count.view(rows, self.bins + 1, 2)[:, : self.bins].cpu())
        total = torch.bincount(place.flatten(), exact.flatten(), minlength=self.bins + 1)
        self._confidence += total[: self.bins].cpu()

    def histogram(self, confidence: Tensor) -> Tensor:
        """(bins,) int64: how many of ``confidence`` (...) are in each bin."""
        return torch.bincount(self._place(confidence).flatten(), minlength=self.bins).cpu()

    def likely(self, asked: Tensor, pictures: int | None = None) -> LikelyRange | None:
        """In which range the share of right ones lies of the predictions in so many ``pictures``, of
        which ``asked`` (bins,) are in each bin; see ``quality.accuracy.likely_range``."""
        wrong, right = self._counted.unbind(2)
        return likely_range(wrong + right, right, asked, pictures)

    def _place(self, confidence: Tensor) -> Tensor:
        return torch.bucketize(confidence.double(), self._edges[1:-1].to(confidence.device))

    @property
    def _counted(self) -> Tensor:
        """(pictures, bins, 2) int64, wrong and right ones."""
        return torch.cat([torch.zeros(0, self.bins, 2, dtype=torch.int64), *self._pictures])

    @property
    def _count(self) -> Tensor:
        return self._counted.sum((0, 2))

    @property
    def _right(self) -> Tensor:
        return self._counted[:, :, 1].sum(0)

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
        counted = self._count
        filled = counted > 0
        if not bool(filled.any()):
            return exact
        count = counted[filled].double()
        places = (self._confidence[filled] / count).numpy()
        accuracy = (self._right[filled] / count).numpy()
        fitted = isotonic_regression(accuracy, weights=count.numpy()).x
        return torch.from_numpy(np.interp(exact.numpy(), places, fitted))

    def reliability(self) -> Reliability:
        """The diagram as numbers; its ``error`` is the calibration error."""
        count = self._count
        return Reliability(
            self._edges, self._confidence / count, self._right.double() / count, count
        )
