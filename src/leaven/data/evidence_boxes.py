"""Evidence simulators for boxes: missing ones, loose ones and wrong classes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from leaven.errors import DataError
from leaven.labels.boxes import BoxLabels

_HALVINGS = 40


def sparse_boxes(labels: BoxLabels, share: float, seed: int) -> BoxLabels:
    """Keeps a share of the boxes of each picture, at least one, and forgets the others.

    Of ``m`` boxes ``max(1, floor(share * m + 0.5))`` stay, so none of none. For one seed the boxes
    kept with a smaller share are among those kept with a larger one.

    Args:
        labels: of n pictures.
        share: in [0, 1]; 0 keeps one in each picture.
        seed: which ones.

    Raises:
        DataError: a share outside [0, 1].

    Systems: 027 (sparsely annotated detection keeps 30 to 70 %, or one box per picture).
    """
    _check_share(share, "The share of boxes that are kept")
    pictures = labels.pictures
    drawn = torch.rand(len(pictures), generator=_generator(seed), dtype=torch.float64)
    order = (pictures + drawn.to(pictures.device)).argsort()
    starts = labels.counts.cumsum(0) - labels.counts
    rank = torch.empty_like(pictures)
    rank[order] = torch.arange(len(order), device=pictures.device) - starts[pictures[order]]
    wanted = (labels.counts * share + 0.5).floor().clamp_min(1)
    return labels.keep(rank < wanted[pictures])


def jittered_boxes(labels: BoxLabels, min_iou: float, sizes: Tensor, seed: int) -> BoxLabels:
    """Moves the edges of boxes, as loose annotation does, to a known overlap with the truth.

    Each box goes along a random direction ``d`` of its four edges, in units of its width and
    height, until ``IoU(b, b + t d)`` is a draw from [min_iou, 1]. The overlap falls along the way
    without a rise, so the place is found by halving. Then the box is cut off at the picture's edge,
    which does not lessen its overlap with a box in the picture.

    Args:
        labels: of n pictures, boxes of positive size inside them; their masks stay as they are.
        min_iou: least overlap of a box with what it was, in (0, 1].
        sizes: (n, 2) height and width of the pictures.
        seed: where to.

    Raises:
        DataError: an overlap outside (0, 1], or other sizes than pictures.
    """
    if not 0 < min_iou <= 1:
        raise DataError(
            f"The least overlap of a box with the truth is {min_iou}.",
            "above 0 and at most 1",
            "correct it; 0.5 is very loose, 0.9 careful.",
        )
    if sizes.shape != (len(labels), 2):
        raise DataError(
            f"The sizes are {tuple(sizes.shape)} for {len(labels)} pictures.",
            "a height and a width for each picture",
            "give a tensor of shape (n, 2).",
        )
    boxes = labels.boxes.double()
    generator = _generator(seed)
    count = len(boxes)
    direction = torch.randn(count, 4, generator=generator, dtype=torch.float64).to(boxes)
    wanted = 1 - (1 - min_iou) * torch.rand(count, generator=generator, dtype=torch.float64)
    wanted = wanted.to(boxes)
    direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-9)
    direction = direction * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    # One edge at least moves by half a side in each step of 1: inwards nothing is shared after 2
    # steps, outwards the union is larger than the box by 1 / min_iou after 2 / min_iou.
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, 2 / min_iou)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        close = _overlap(boxes, boxes + middle[:, None] * direction) >= wanted
        low, high = torch.where(close, middle, low), torch.where(close, high, middle)
    edge = sizes.flip(1).to(boxes)[labels.pictures].repeat(1, 2)
    moved = (boxes + low[:, None] * direction).clamp_min(0)
    return replace(labels, boxes=torch.minimum(moved, edge).float())


def flipped_classes(labels: BoxLabels, count: int, rate: float, seed: int) -> BoxLabels:
    """Gives boxes, each with probability ``rate``, another class, all others alike.

    For one seed the boxes with wrong classes at a smaller rate are among those at a larger one,
    with the same wrong classes.

    Args:
        labels: with classes 0..count - 1.
        count: number of classes, at least 2.
        rate: in [0, 1].
        seed: which ones, and to what.

    Raises:
        DataError: a rate outside [0, 1], or fewer than two classes.
    """
    _check_share(rate, "The rate of wrong classes")
    if count < 2:
        raise DataError(
            f"Wrong classes are wanted where there are {count} classes.",
            "at least two classes",
            "leave the classes as they are.",
        )
    generator = _generator(seed)
    rows = len(labels.classes)
    drawn = torch.rand(rows, generator=generator, dtype=torch.float64).to(labels.boxes.device)
    step = torch.randint(1, count, (rows,), generator=generator).to(labels.classes)
    other = (labels.classes + step) % count
    return replace(labels, classes=torch.where(drawn < rate, other, labels.classes))


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """(m,) intersection over union of rows of boxes."""
    inner = torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])
    shared = inner.clamp_min(0).prod(1)
    area = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1)
    return shared / (area - shared)


def _check_share(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise DataError(f"{name} is {value}.", "in [0, 1]", "correct it.")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed % 2**63)
