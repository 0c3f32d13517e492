"""Given boxes that are probably wrong, and things that nobody boxed: ObjectLab, through cleanlab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.labels.boxes import BoxLabels
from leaven.quality.audit.label_errors import cleanlab
from leaven.quality.detection import detection_scores

AP_SHARE = 0.25
"""A score is suspicious up to so much of the average precision of its class ..."""

FACTOR = 0.8
"""... and so much of that. A detector that is bad at a class accuses nobody of it."""

SURE = 0.95
"""Score of a prediction that may accuse a label of a wrong class or of a missing box."""


@dataclass(frozen=True)
class BoxFault:
    """What is wrong with a box, or where one is missing.

    Attributes:
        picture: its number.
        kind: "class" (the box has another class), "place" (its edges are elsewhere) or "missing"
            (nobody boxed this thing).
        score: in [0, 1], higher is surer.
        given: the class that was given, -1 where the box is missing.
        suggested: the class that is suggested; that of the box where only its place is wrong.
        box: x1, y1, x2, y2 of the given box, or of the missing one.
    """

    picture: int
    kind: str
    score: float
    given: int
    suggested: int
    box: tuple[float, float, float, float]


def box_errors(
    given: BoxLabels, found: BoxLabels, num_classes: int, *, sure: float = SURE
) -> list[BoxFault]:
    """Which given boxes are probably wrong, and where some are probably missing.

    cleanlab scores each given box by how well it agrees in class and in place with what a detector
    found, and each sure finding by how near to it a box of its class is. As in ObjectLab, a score of
    at most ``0.8 * 0.25 * AP_k`` is a fault, where ``AP_k`` is the average precision (mean over IoU
    of 0.5 to 0.95) of the detector at the class on these labels. Groups (``crowd``) are neither
    judged nor missed.

    Args:
        given: the labels of n pictures.
        found: what a detector found in them that has not learnt from their labels.
        num_classes: K.
        sure: only findings of at least this score speak against a class or of a missing box.

    Returns:
        the faults, the surest first.

    Raises:
        MissingExtraError: without cleanlab.
        ValueError: the numbers of pictures differ.

    Source: Tkachenko et al., ObjectLab: automated diagnosis of mislabeled images in object
    detection data, 2023.
    """
    rank = cleanlab("cleanlab.object_detection.rank")
    if len(given) != len(found):
        raise ValueError(f"{len(found)} predictions for {len(given)} pictures")
    given = given.cpu().keep(~given.crowd)
    found = found.cpu()
    if not len(given) or not len(found.boxes):
        return []
    scores = detection_scores(found, given, num_classes).per_class()["ap"]
    limits = FACTOR * AP_SHARE * scores.nan_to_num(0.0)
    labels, predictions = _labels(given), _predictions(found, num_classes)
    place = rank.compute_badloc_box_scores(labels=labels, predictions=predictions)
    swap = rank.compute_swap_box_scores(
        labels=labels, predictions=predictions, high_probability_threshold=sure
    )
    missed = rank.compute_overlooked_box_scores(
        labels=labels, predictions=predictions, high_probability_threshold=sure
    )
    faults: list[BoxFault] = []
    for kind, by_picture in (("class", swap), ("place", place)):
        score = _flat(by_picture)
        wrong = score <= limits[given.classes]
        for row in wrong.nonzero().squeeze(1).tolist():
            picture, label = int(given.pictures[row]), int(given.classes[row])
            suggested = (
                _other(given.boxes[row], label, found, picture) if kind == "class" else label
            )
            box = tuple(given.boxes[row].tolist())
            faults.append(BoxFault(picture, kind, 1 - float(score[row]), label, suggested, box))
    order = _by_class(found)
    score = _flat(missed)
    unboxed = score <= limits[found.classes[order]]
    for place_in_order in unboxed.nonzero().squeeze(1).tolist():
        row = int(order[place_in_order])
        box = tuple(found.boxes[row].tolist())
        picture, label = int(found.pictures[row]), int(found.classes[row])
        gap = 1 - float(score[place_in_order])
        faults.append(BoxFault(picture, "missing", gap, -1, label, box))
    return sorted(_once(faults), key=lambda fault: (-fault.score, fault.picture, fault.box))


def _labels(given: BoxLabels) -> list[dict[str, Any]]:
    boxes, classes = given.boxes.double().numpy(), given.classes.numpy()
    ends = np.cumsum(given.counts.numpy())[:-1]
    return [
        {"bboxes": one, "labels": own}
        for one, own in zip(np.split(boxes, ends), np.split(classes, ends))
    ]


def _by_class(found: BoxLabels) -> Tensor:
    """The rows of ``found`` by picture and then by class: the order in which cleanlab answers."""
    return torch.from_numpy(np.lexsort((found.classes.numpy(), found.pictures.numpy())))


def _predictions(found: BoxLabels, num_classes: int) -> list[Any]:
    """For each picture an object array of K arrays (rows, 5): a box and its score."""
    order = _by_class(found)
    rows = torch.cat([found.boxes, found.confidence[:, None]], 1)[order].double().numpy()
    cell = (found.pictures * num_classes + found.classes)[order]
    counts = torch.bincount(cell, minlength=len(found) * num_classes)
    parts = np.split(rows, np.cumsum(counts.numpy())[:-1])
    made = []
    for picture in range(len(found)):
        own = np.empty(num_classes, dtype=object)
        for number in range(num_classes):
            own[number] = parts[picture * num_classes + number]
        made.append(own)
    return made


def _flat(by_picture: list[np.ndarray]) -> Tensor:
    """The scores of all pictures one after the other; NaN, which accuses of nothing, is 1."""
    flat = np.concatenate([np.zeros(0), *(np.asarray(one, np.float64) for one in by_picture)])
    return torch.from_numpy(np.nan_to_num(flat, nan=1.0))


def _other(box: Tensor, label: int, found: BoxLabels, picture: int) -> int:
    """The class of the surest finding that overlaps most with a box and has another class."""
    rows = (found.pictures == picture) & (found.classes != label)
    boxes, classes = found.boxes[rows], found.classes[rows]
    if not len(boxes):
        return label
    corner = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    shared = (corner[1] - corner[0]).clamp_min(0).prod(1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return int(
        classes[(shared / (area - shared).clamp_min(1e-9) * found.confidence[rows]).argmax()]
    )


def _once(faults: list[BoxFault]) -> list[BoxFault]:
    """A box with a wrong class is not also said to be elsewhere."""
    swapped = {(fault.picture, fault.box) for fault in faults if fault.kind == "class"}
    return [
        fault
        for fault in faults
        if fault.kind != "place" or (fault.picture, fault.box) not in swapped
    ]
