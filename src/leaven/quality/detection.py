"""How right boxes and masks of things are, where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leaven.labels.boxes import BoxLabels
from leaven.quality.matching import Assignment, Candidates, Flags, areas, assign, candidates

IOUS = np.linspace(0.5, 0.95, 10)
"""The IoU thresholds that COCO's AP is the mean of."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""The recalls at which COCO reads the precision."""

AREAS = ("all", "small", "medium", "large")
AREA_LIMITS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
"""COCO's sizes of things, in square pixels, with both ends."""

MOST = 100
"""Predictions per picture and class that count, those of the highest confidence."""


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """COCO's figures. NaN where there is no truth to find.

    Attributes:
        ap: (T, K, A) float64, average precision by IoU threshold (``IOUS``), class and area
            (``AREAS``).
        recall: (T, K, A) float64, the recall with all predictions that count.
    """

    ap: Tensor
    recall: Tensor

    def metrics(self) -> dict[str, float]:
        """Means over the classes that are in the truth, as COCO has them.

        ``map`` over IoU 0.5 to 0.95, ``map50``, ``map75``, ``map_small``, ``map_medium``,
        ``map_large``, and the recall ``ar100``. What no true thing allows to judge is left out.
        """
        found = {
            "map": self.ap[:, :, 0],
            "map50": self.ap[0, :, 0],
            "map75": self.ap[5, :, 0],
            **{f"map_{name}": self.ap[:, :, a] for a, name in enumerate(AREAS) if a},
            "ar100": self.recall[:, :, 0],
        }
        means = {name: float(values.nanmean()) for name, values in found.items()}
        return {name: value for name, value in means.items() if value == value}

    def per_class(self) -> dict[str, Tensor]:
        """By name, a figure per class (K,) float64: ``ap``, ``ap50`` and ``recall`` (AR100)."""
        return {
            "ap": self.ap[:, :, 0].mean(0),
            "ap50": self.ap[0, :, 0],
            "recall": self.recall[:, :, 0].mean(0),
        }


def detection_scores(
    predictions: BoxLabels, truth: BoxLabels, num_classes: int, masks: bool = False
) -> DetectionScores:
    """COCO's average precision and recall of ``predictions``, equal to those of pycocotools.

    Predictions are ranked by ``confidence``; ``weight`` does not count. Pictures of unknown truth
    are left out. Crowds are neither demanded nor punished.

    Args:
        predictions, truth: of the same n pictures, in the same order.
        num_classes: K.
        masks: whether masks are compared (iouType "segm"), else boxes ("bbox"). The area of a true
            thing is that of its mask where there is one, as in COCO's files.

    Raises:
        ValueError: the numbers of pictures differ, a class is K or more, masks are to be compared
            and missing or of different sizes, or there is no thing to find.

    Source: Lin et al., "Microsoft COCO: common objects in context", ECCV 2014; cocoeval.py.
    """
    predictions, truth = _comparable(predictions, truth, num_classes)
    if bool(truth.crowd.all()):
        raise ValueError("average precision needs at least one true thing")
    found = candidates(predictions, truth, num_classes, masks, float(IOUS[0]), MOST)
    crowd = truth.crowd.numpy()
    ignored = crowd[:, None] | _outside(areas(truth, masks=True))
    # Settings are all pairs of IoU threshold and area, the areas of one threshold side by side.
    assigned = assign(found, np.repeat(IOUS, len(AREAS)), np.tile(ignored, (1, len(IOUS))), crowd)
    outside = np.tile(_outside(areas(predictions, masks)[found.rows]), (1, len(IOUS)))
    aside = assigned.ignored | ((assigned.truth < 0) & outside)
    ap = np.full((len(IOUS), num_classes, len(AREAS)), np.nan)
    recall = ap.copy()
    classes = predictions.classes.numpy()[found.rows]
    confidence = predictions.confidence.numpy()[found.rows]
    truth_classes = truth.classes.numpy()
    for k in range(num_classes):
        wanted = (~ignored[truth_classes == k]).sum(0)
        rows = np.flatnonzero(classes == k)
        rows = rows[np.argsort(-confidence[rows], kind="stable")]
        hit = (assigned.truth[rows] >= 0) & ~aside[rows]
        miss = (assigned.truth[rows] < 0) & ~aside[rows]
        precision, found_share = _curve(hit, miss, np.tile(wanted, len(IOUS)))
        ap[:, k], recall[:, k] = (
            values.reshape(len(IOUS), len(AREAS)) for values in (precision, found_share)
        )
    return DetectionScores(torch.from_numpy(ap), torch.from_numpy(recall))


@dataclass(frozen=True, slots=True)
class BoxMatches:
    """Predictions matched with the truth at one IoU.

    Attributes:
        truth: (m,) int64, the row of the truth of each prediction, -1 for none.
        judged: (m,) bool, the prediction counts: it is not on a crowd, and its picture is known.
        iou: (m,) float64, with the matched truth; 0 without.
        missed: (g,) bool, rows of the truth that nothing was matched to, crowds left out.
    """

    truth: Tensor
    judged: Tensor
    iou: Tensor
    missed: Tensor

    @property
    def right(self) -> Tensor:
        """(m,) bool: judged and matched."""
        return self.judged & (self.truth >= 0)

    def metrics(self) -> dict[str, float]:
        """``precision``, ``recall`` and ``mean_iou`` (of the right ones); NaN where there is none.

        Precision is the share of judged predictions that are right, recall the share of true things
        that are found.
        """
        right, judged = int(self.right.sum()), int(self.judged.sum())
        things = right + int(self.missed.sum())
        return {
            "precision": right / judged if judged else float("nan"),
            "recall": right / things if things else float("nan"),
            "mean_iou": float(self.iou[self.right].mean()),
        }


def match_boxes(
    predictions: BoxLabels,
    truth: BoxLabels,
    num_classes: int,
    iou: float = 0.5,
    masks: bool = False,
) -> BoxMatches:
    """Matches boxes (or masks) with the truth as COCO does at one IoU; see ``matching.assign``.

    For the labels that a run accepts: ``match_boxes(labels.keep(labels.accepted), truth, K)``.

    Args:
        predictions, truth: of the same n pictures, in the same order.
        num_classes: K.
        iou: least IoU of a match, in (0, 1].
        masks: whether masks are compared, else boxes.

    Raises:
        ValueError: as ``detection_scores``, but there need not be a thing to find.
    """
    known = truth.known.cpu()
    whole = predictions.counts.cpu()
    predictions_known, truth_known = _comparable(predictions, truth, num_classes)
    everything = len(predictions_known.boxes)
    found = candidates(predictions_known, truth_known, num_classes, masks, iou, everything)
    crowd = truth_known.crowd.numpy()
    assigned = assign(found, np.array([iou]), crowd[:, None], crowd)

    matched = np.full(len(predictions_known.boxes), -1)
    matched[found.rows] = assigned.truth[:, 0]
    to_crowd = np.zeros(len(matched), dtype=bool)
    to_crowd[found.rows] = assigned.ignored[:, 0]
    missed = ~crowd
    missed[matched[matched >= 0]] = False
    overlap = np.zeros(len(matched))
    overlap[found.rows] = _overlap_of(found, assigned)

    # Back to the rows of all pictures, known or not.
    rows = known.repeat_interleave(whole)
    truth_rows = known.repeat_interleave(truth.counts.cpu())
    back = torch.cat([truth_rows.nonzero().squeeze(1), torch.tensor([-1])])
    return BoxMatches(
        _spread(rows, back[torch.from_numpy(matched)], -1),
        _spread(rows, torch.from_numpy(~to_crowd), False),
        _spread(rows, torch.from_numpy(overlap), 0.0),
        _spread(truth_rows, torch.from_numpy(missed), False),
    )


def said_of_boxes(labels: BoxLabels, num_classes: int, clear: float) -> Tensor:
    """(n, K + 1) float32: of each picture how many things of each class are found with a confidence
    of ``clear`` or more, and the mean confidence of these, 0 of none."""
    found = labels.cpu()
    found = found.keep(found.confidence >= clear)
    place = found.pictures * num_classes + found.classes
    counts = torch.bincount(place, minlength=len(found) * num_classes).view(-1, num_classes)
    sure = torch.bincount(found.pictures, found.confidence.double(), minlength=len(found))
    mean = sure / counts.sum(1).clamp_min(1)
    return torch.cat([counts.float(), mean[:, None].float()], 1)


def _comparable(
    predictions: BoxLabels, truth: BoxLabels, num_classes: int
) -> tuple[BoxLabels, BoxLabels]:
    """Both in main memory, the pictures of known truth alone."""
    if len(predictions) != len(truth):
        raise ValueError(f"{len(predictions)} predicted pictures, {len(truth)} true ones")
    for labels in (predictions, truth):
        if len(labels.classes) and int(labels.classes.max()) >= num_classes:
            raise ValueError(f"class {int(labels.classes.max())} of {num_classes}")
    known = truth.known.cpu()
    return predictions.cpu().select(known), truth.cpu().select(known)


def _outside(area: np.ndarray) -> Flags:
    """(m, A) bool: the area is not one of that size."""
    return (area[:, None] < AREA_LIMITS[:, 0]) | (area[:, None] > AREA_LIMITS[:, 1])


def _curve(hit: Flags, miss: Flags, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and last recall (S,) of ranked hits and misses (D, S) of one class."""
    average, last = np.full(len(wanted), np.nan), np.full(len(wanted), np.nan)
    asked = np.flatnonzero(wanted)
    average[asked] = last[asked] = 0.0
    if len(hit) == 0 or len(asked) == 0:
        return average, last
    right = hit[:, asked].cumsum(0).astype(float)
    wrong = miss[:, asked].cumsum(0).astype(float)
    recall = right / wanted[asked]
    precision = right / (right + wrong + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1], 0)[::-1]
    levels = torch.from_numpy(np.tile(RECALLS, (len(asked), 1)))
    place = torch.searchsorted(torch.from_numpy(np.ascontiguousarray(recall.T)), levels).numpy()
    beyond = np.vstack([precision, np.zeros(len(asked))])
    average[asked] = np.take_along_axis(beyond.T, place, 1).mean(1)
    last[asked] = recall[-1]
    return average, last


def _overlap_of(found: Candidates, assigned: Assignment) -> np.ndarray:
    """(D,) the IoU of each prediction with the truth it was given."""
    overlap = np.zeros(len(found.rows))
    given = assigned.truth[found.prediction, 0] == found.truth
    overlap[found.prediction[given]] = found.overlap[given]
    return overlap


def _spread(rows: Tensor, values: Tensor, other: float) -> Tensor:
    """``values`` at the ``rows`` that are True, ``other`` elsewhere."""
    spread = torch.full((len(rows),), other, dtype=values.dtype)
    spread[rows] = values
    return spread
