"""How right a class per pixel is, where the truth is known: counted batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from leaven.labels.classes import UNKNOWN
from leaven.quality.confidence import ConfidenceBins
from leaven.quality.metrics import confusion


class SegmentationMeter:
    """Counts pixels of batches, on the device where they are, and makes the usual figures of them.

    A pixel counts when its truth and its prediction are both known. So the figures of labels that
    leave pixels out are those of the pixels that they do label.

    Args:
        num_classes: K.
        border: r of the band in pixels around true class borders (``border_band``) that
            ``border_miou`` looks at; 0 for none.
        bins: of confidence, for the calibration error.
    """

    def __init__(self, num_classes: int, border: int = 3, bins: int = 15) -> None:
        if num_classes < 1 or border < 0:
            raise ValueError(f"num_classes {num_classes} must be positive, border {border} >= 0")
        self.num_classes, self.border = num_classes, border
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.border_counts = self.counts.clone()
        self.bins = ConfidenceBins(bins)
        self._said: list[Tensor] = []

    @torch.no_grad()
    def add(
        self,
        predicted: Tensor,
        truth: Tensor,
        confidence: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> None:
        """Counts a batch.

        Args:
            predicted: (B, H, W) int64 classes, -1 for none.
            truth: (B, H, W) int64 classes, -1 for unknown.
            confidence: (B, H, W) of the predictions, in [0, 1].
            shown: (B, H, W) bool, the pixels that show a picture; all when None. For ``said`` alone.

        Raises:
            ValueError: the shapes differ, or a class is K or more.
        """
        if predicted.shape != truth.shape:
            raise ValueError(f"{tuple(predicted.shape)} predictions, {tuple(truth.shape)} truths")
        if truth.numel() == 0:
            return
        largest = int(torch.maximum(predicted.max(), truth.max()))
        if largest >= self.num_classes:
            raise ValueError(f"class {largest} of {self.num_classes} classes, which start at 0")
        self.counts += confusion(predicted, truth, self.num_classes).cpu()
        if self.border:
            near = torch.where(border_band(truth, self.border), truth, UNKNOWN)
            self.border_counts += confusion(predicted, near, self.num_classes).cpu()
        if confidence is not None:
            judged = (truth >= 0) & (predicted >= 0)
            self.bins.add(confidence, predicted == truth, judged)
            self._said.append(said_of_maps(predicted, confidence, shown, self.num_classes).cpu())

    @property
    def said(self) -> Tensor:
        """(n, K + 1): ``said_of_maps`` of the pictures that were added with a confidence."""
        return torch.cat([torch.zeros(0, self.num_classes + 1), *self._said])

    def metrics(self) -> dict[str, float]:
        """The figures of ``segmentation_metrics`` of all that was added, and where they apply:

        - ``border_miou``: ``miou`` of the pixels near a true border alone. Used by system 086.
        - ``ece``, ``confidence``: calibration error and mean confidence of the pixels.

        Raises:
            ValueError: no pixel had a known truth.
        """
        found = segmentation_metrics(self.counts)
        if int(self.border_counts.sum()):
            found["border_miou"] = mean_known(iou_per_class(self.border_counts))
        if self.bins.total:
            reliability = self.bins.reliability()
            found |= {"ece": reliability.error, "confidence": self.bins.confidence}
        return found

    def per_class(self) -> dict[str, Tensor]:
        """By name, a figure per class (K,) float64, NaN where there is nothing to judge.

        ``iou``, ``dice``, ``recall`` (share of the class's true pixels that are right),
        ``precision`` (share of the pixels said to be of the class that are) and ``support`` (true
        pixels).
        """
        right, actual, said = _parts(self.counts)
        return {
            "iou": iou_per_class(self.counts),
            "dice": dice_per_class(self.counts),
            "recall": right / actual,
            "precision": right / said,
            "support": actual,
        }


def said_of_maps(
    classes: Tensor, confidence: Tensor, shown: Tensor | None, num_classes: int
) -> Tensor:
    """(B, K + 1) float32: of each picture the share of its pixels that are said to be of each class,
    and their mean confidence, to the precision that ``PixelLabels`` keep; whether truth is known or
    not.

    Args:
        classes: (B, H, W) whole numbers; others than 0..K-1 are no class.
        confidence: (B, H, W).
        shown: (B, H, W) bool, the pixels that show a picture; all when None.
        num_classes: K.
    """
    count = len(classes)
    shown = torch.ones_like(classes, dtype=torch.bool) if shown is None else shown
    none = (classes < 0) | (classes >= num_classes) | ~shown
    place = torch.where(none, num_classes, classes.long())
    place = place + (num_classes + 1) * torch.arange(count, device=place.device)[:, None, None]
    counts = torch.bincount(place.flatten(), minlength=count * (num_classes + 1))
    area = shown.sum((1, 2)).clamp_min(1)
    sure = (confidence.half() * shown).sum((1, 2), dtype=torch.float32)
    counts = counts.view(count, num_classes + 1)[:, :num_classes]
    return torch.cat([counts, sure[:, None]], 1).float() / area[:, None]


def segmentation_metrics(counts: Tensor) -> dict[str, float]:
    """The usual figures of a class per pixel, from its confusion matrix.

    With ``t_k`` right, ``a_k`` true and ``s_k`` said pixels of class k:

    - ``miou``: mean of ``t_k / (a_k + s_k - t_k)``.
    - ``pixel_accuracy``: ``sum_k t_k / sum_k a_k``.
    - ``mean_accuracy``: mean of ``t_k / a_k`` over the classes that are in the truth.
    - ``dice``: mean of ``2 t_k / (a_k + s_k)``.
    - ``frequency_weighted_iou``: ``sum_k a_k / sum_j a_j * IoU_k``.

    Means of IoU and Dice go over the classes that are in the truth or were said; a class that is
    in neither has no figure and is left out. One that was said and is not there counts as 0.

    Args:
        counts: (K, K) int64, row = true class, column = predicted class.

    Raises:
        ValueError: there is no pixel.
    """
    if not int(counts.sum()):
        raise ValueError("metrics need at least one pixel with a known truth")
    right, actual, _ = _parts(counts)
    iou = iou_per_class(counts)
    return {
        "miou": mean_known(iou),
        "pixel_accuracy": float(right.sum() / actual.sum()),
        "mean_accuracy": mean_known(right / actual),
        "dice": mean_known(dice_per_class(counts)),
        "frequency_weighted_iou": float((actual * iou.nan_to_num()).sum() / actual.sum()),
    }


def iou_per_class(counts: Tensor) -> Tensor:
    """``t_k / (a_k + s_k - t_k)`` (K,) float64 of a confusion matrix (K, K); NaN for an absent class.

    Also called the Jaccard index.
    """
    right, actual, said = _parts(counts)
    return right / (actual + said - right)


def dice_per_class(counts: Tensor) -> Tensor:
    """``2 t_k / (a_k + s_k)`` (K,) float64 of a confusion matrix (K, K); NaN for an absent class."""
    right, actual, said = _parts(counts)
    return 2 * right / (actual + said)


def border_band(truth: Tensor, radius: int) -> Tensor:
    """(B, H, W) bool: known pixels with a pixel of another known class at most ``radius`` away.

    Distance is the larger of those along x and y, so that a straight border between two classes has
    ``radius`` pixels of band on either side. Unknown pixels and the frame of the picture make no
    border. Where the band is all that is judged, the figures are those of a trimap.

    Args:
        truth: (B, H, W) int64, -1 for unknown; classes below 2^24.
        radius: in pixels, at least 1.

    Source: Kohli et al., "Robust higher order potentials for enforcing label consistency", IJCV
    2009 (evaluation in a band around borders). Used by system 086.
    """
    if radius < 1:
        raise ValueError(f"a band of {radius} pixels; at least 1 is needed")
    classes = truth.float()
    highest = _highest(classes, radius)
    # Unknown pixels must not be the lowest either.
    lowest = -_highest(torch.where(truth < 0, -torch.inf, -classes), radius)
    return (truth >= 0) & (highest != lowest)


def mean_known(values: Tensor) -> float:
    """The mean of the values that are not NaN; NaN when there are none."""
    return float(values.nanmean())


def _highest(values: Tensor, radius: int) -> Tensor:
    """The largest value (B, H, W) in the square around each pixel."""
    size = 2 * radius + 1
    along = functional.max_pool2d(values[:, None], (1, size), 1, (0, radius))
    return functional.max_pool2d(along, (size, 1), 1, (radius, 0))[:, 0]


def _parts(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Right, true and said pixels per class, each (K,) float64."""
    exact = counts.double()
    return exact.diagonal(), exact.sum(1), exact.sum(0)
