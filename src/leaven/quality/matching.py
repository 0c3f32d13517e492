"""COCO's greedy matching of predictions to truths, for all pictures and classes at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from leaven.labels.boxes import BoxLabels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

ALMOST_ONE = 1 - 1e-10
"""As pycocotools has it: an IoU threshold of 1 is met by boxes that are equal but for rounding."""


@dataclass(frozen=True)
class Candidates:
    """Predictions and truths in cells (picture and class), and the pairs of one cell that overlap.

    Predictions stand by cell, then by falling score, at most so many per cell; truths as they came.

    Attributes:
        rows: (D,) the row of each prediction in its labels.
        rank: (D,) its place by score within its cell.
        prediction, truth: (P,) of each pair, as positions in ``rows`` and as rows of the truth.
        overlap: (P,) the IoU of each pair.
    """

    rows: Ints
    rank: Ints
    prediction: Ints
    truth: Ints
    overlap: Floats


@dataclass(frozen=True)
class Assignment:
    """Who was matched, in S settings (IoU thresholds times areas) at once.

    Attributes:
        truth: (D, S) the row of the truth of each prediction, -1 for none.
        ignored: (D, S) the prediction was matched to an ignored truth.
    """

    truth: Ints
    ignored: Flags


def candidates(
    predictions: BoxLabels, truth: BoxLabels, num_classes: int, masks: bool, least: float, most: int
) -> Candidates:
    """The pairs of equal picture and class whose IoU is at least ``least`` and not 0.

    The IoU with a crowd is the intersection by the prediction's own area.

    Args:
        predictions, truth: on the CPU, of the same pictures.
        masks: whether masks are compared, else boxes.
        least: in [0, 1].
        most: predictions per picture and class; those of lower score are left out.
    """
    cell = (predictions.pictures * num_classes + predictions.classes).numpy()
    truth_cell = (truth.pictures * num_classes + truth.classes).numpy()
    order = np.lexsort((-predictions.confidence.numpy(), cell))
    cell = cell[order]
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    order, cell, rank = order[rank < most], cell[rank < most], rank[rank < most]

    truth_order = np.argsort(truth_cell, kind="stable")
    start = np.searchsorted(truth_cell[truth_order], cell)
    count = np.searchsorted(truth_cell[truth_order], cell, side="right") - start
    first = np.repeat(np.arange(len(cell)), count)
    # The j-th truth of the cell of each prediction.
    within = np.arange(len(first)) - np.repeat(count.cumsum() - count, count)
    second = truth_order[start[first] + within]

    overlap = (_mask_overlap if masks else _box_overlap)(predictions, truth, order[first], second)
    near = (overlap >= min(least, ALMOST_ONE)) & (overlap > 0)
    return Candidates(order, rank, first[near], second[near], overlap[near])


def assign(found: Candidates, thresholds: Floats, ignored: Flags, crowd: Flags) -> Assignment:
    """COCO's matching: in the order of their scores, each prediction takes its best free truth.

    The best one is that of the largest IoU, if that reaches the threshold; of equal ones the last.
    Truths that are not ignored come first, however small their overlap; a crowd is always free.

    One rank is dealt with at a time, in all cells and settings at once, because only predictions
    of one cell compete.

    Args:
        found: the pairs.
        thresholds: (S,) least IoU.
        ignored: (G, S) truths that are neither demanded nor punished.
        crowd: (G,) truths that any number of predictions may match; ignored as well.

    Source: Lin et al., "Microsoft COCO: common objects in context", ECCV 2014; cocoeval.py.
    """
    settings = len(thresholds)
    least = np.minimum(thresholds, ALMOST_ONE)
    taken = np.zeros((len(crowd), settings), dtype=bool)
    chosen = np.full((len(found.rows), settings), -1, dtype=np.int64)
    # Pairs by rank, then by prediction, the better ones later: the place is the preference.
    rank = found.rank[found.prediction]
    pairs = np.lexsort((found.truth, found.overlap, found.prediction, rank))
    ends = np.flatnonzero(np.diff(rank[pairs], append=-1)) + 1
    for now in np.split(pairs, ends[:-1]) if len(pairs) else ():
        who, whom = found.prediction[now], found.truth[now]
        fits = (found.overlap[now, None] >= least) & (~taken[whom] | crowd[whom, None])
        place = np.arange(len(now))[:, None]
        preference = np.where(fits, place + len(now) * ~ignored[whom], -1)
        first = np.flatnonzero(np.diff(who, prepend=-1))
        best = np.maximum.reduceat(preference, first, axis=0)
        row, setting = np.nonzero(best >= 0)
        partner = whom[best[row, setting] % len(now)]
        chosen[who[first][row], setting] = partner
        taken[partner, setting] = True
    matched = chosen >= 0
    at = np.arange(settings)[None].repeat(len(chosen), 0)
    to_ignored = np.zeros_like(matched)
    to_ignored[matched] = ignored[chosen[matched], at[matched]]
    return Assignment(chosen, to_ignored)


def areas(labels: BoxLabels, masks: bool) -> Floats:
    """(m,) float64, the area of each row in pixels: of its mask, or of its box."""
    if masks and labels.masks is not None:
        return labels.masks.area().double().numpy()
    sides = labels.sides.double()
    return (sides[:, 0] * sides[:, 1]).numpy()


def _box_overlap(predictions: BoxLabels, truth: BoxLabels, first: Ints, second: Ints) -> Floats:
    a, b = predictions.boxes.double().numpy()[first], truth.boxes.double().numpy()[second]
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = sides.clip(0).prod(1)
    own = (a[:, 2:] - a[:, :2]).prod(1)
    other = (b[:, 2:] - b[:, :2]).prod(1)
    union = np.where(truth.crowd.numpy()[second], own, own + other - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _mask_overlap(predictions: BoxLabels, truth: BoxLabels, first: Ints, second: Ints) -> Floats:
    """The IoU of masks. Pairs come cell by cell, each cell a whole table of its predictions."""
    if predictions.masks is None or truth.masks is None:
        raise ValueError("masks are to be compared, but there are boxes alone")
    runs, truth_runs = predictions.masks.coco(), truth.masks.coco()
    crowd = truth.crowd.numpy().astype(np.uint8)
    # Within a cell the first truth comes back with every prediction.
    head = np.flatnonzero(np.diff(first, prepend=-1))
    new_cell = np.flatnonzero(np.diff(second[head], prepend=-1))
    begins, counts = head[new_cell], np.diff(head, append=len(first))[new_cell]
    ends = np.append(begins[1:], len(first))[: len(begins)]
    parts = [np.zeros(0)]
    for begin, end, count in zip(begins, ends, counts, strict=True):
        mine = [runs[row] for row in first[begin:end:count]]
        truths = second[begin : begin + count]
        table = coco.iou(mine, [truth_runs[row] for row in truths], crowd[truths].tolist())
        parts.append(np.asarray(table, dtype=np.float64).reshape(-1))
    overlap = np.concatenate(parts)
    if (overlap < 0).any():
        raise ValueError("predicted and true masks of one picture differ in size")
    return overlap
