"""Regions of pictures against their labels: overlap, assignment, sampling, suppression."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels

BACKGROUND, IGNORED = -1, -2
"""In place of a target: of none, and of no loss."""

COVERED = 0.5
"""The share of a region that an ignore region covers, from which on the region has no loss."""

SMALLEST = 1e-2
"""The side in pixels under which a box counts as not there."""

_AT_ONCE = 2**24
"""Pairs of region and box that are compared at once: what a few such arrays cost is memory."""


@dataclass(frozen=True, slots=True)
class Regions:
    """Places in the pictures of a batch.

    Attributes:
        boxes: (R, 4) float32, x1, y1, x2, y2 in pixels.
        pictures: (R,) int64, the picture of each.
    """

    boxes: Tensor
    pictures: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def keep(self, rows: Tensor) -> Regions:
        """The ``rows`` (bool, or int64 positions) alone."""
        return Regions(self.boxes[rows], self.pictures[rows])

    def rois(self) -> Tensor:
        """(R, 5) as torchvision's RoIAlign takes them."""
        return torch.cat([self.pictures[:, None].to(self.boxes), self.boxes], 1)


@dataclass(frozen=True, slots=True)
class Targets:
    """The labels of B pictures as one block of G >= 1 places for each picture.

    Attributes:
        boxes: (B, G, 4) float32; zeros in an empty place.
        classes: (B, G) int64.
        true: (B, G) bool, a thing that is to be found.
        ignored: (B, G) bool, an ignore region.
        rows: (B, G) int64, the row of the labels; -1 in an empty place.
    """

    boxes: Tensor
    classes: Tensor
    true: Tensor
    ignored: Tensor
    rows: Tensor

    @classmethod
    def of(cls, labels: BoxLabels, device: torch.device) -> Targets:
        """Boxes without area are neither true nor ignored."""
        counts = labels.counts.to(device)
        pictures = torch.repeat_interleave(counts)
        starts = counts.cumsum(0) - counts
        place = torch.arange(len(pictures), device=device) - starts[pictures]
        widest = max(1, int(labels.counts.max())) if len(labels) else 1
        shape = (len(counts), widest)
        rows = torch.full(shape, -1, dtype=torch.int64, device=device)
        rows[pictures, place] = torch.arange(len(pictures), device=device)
        boxes = torch.zeros(*shape, 4, device=device)
        boxes[pictures, place] = labels.boxes.to(boxes)
        classes = torch.zeros(shape, dtype=torch.int64, device=device)
        classes[pictures, place] = labels.classes.to(device)
        crowd = torch.zeros(shape, dtype=torch.bool, device=device)
        crowd[pictures, place] = labels.crowd.to(device)
        there = (rows >= 0) & ((boxes[..., 2:] - boxes[..., :2]).amin(-1) >= SMALLEST)
        return cls(boxes, classes, there & ~crowd, there & crowd, rows)

    def select(self, pictures: Tensor | slice) -> Targets:
        """The blocks of some pictures, or of the picture of each region."""
        return Targets(
            self.boxes[pictures],
            self.classes[pictures],
            self.true[pictures],
            self.ignored[pictures],
            self.rows[pictures],
        )

    def regions(self) -> Regions:
        """The true boxes as regions."""
        return Regions(self.boxes[self.true], self.true.nonzero()[:, 0])


def areas(boxes: Tensor) -> Tensor:
    """(..., 4) to (...), in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def shared_area(boxes: Tensor, others: Tensor) -> Tensor:
    """The area that each of ``boxes`` (..., N, 4) shares with each of ``others`` (..., G, 4)."""
    low = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    high = torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    return (high - low).clamp_min(0).prod(-1)


def compare(boxes: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """How ``boxes`` (B, N, 4) lie to the targets of their pictures.

    Returns:
        IoU (B, N, G) with the true boxes, -1 in other places; and whether ignore regions cover a
        box, (B, N) bool: ``max_g |box and g| / |box| >= COVERED``, the measure that COCO uses for
        crowds.
    """
    shared = shared_area(boxes, targets.boxes)
    own = areas(boxes)[..., None]
    union = own + areas(targets.boxes)[..., None, :] - shared
    iou = torch.where(targets.true[..., None, :], shared / union, -1.0)
    covered = shared * targets.ignored[..., None, :] >= COVERED * own
    return iou, (covered & targets.ignored[..., None, :]).any(-1)


def assign(
    boxes: Tensor, targets: Targets, *, high: float, low: float, every_target: bool
) -> Tensor:
    """The target of each box by IoU, as in Faster R-CNN (Ren et al., 2015).

    A box takes the true box that it overlaps most when their IoU is ``high`` or more; under
    ``low`` it is background, between the two it has no loss. With ``every_target`` the boxes that
    overlap a true box best take their own best target whatever the IoU is, as long as it is above
    0. Background that an ignore region covers has no loss either.

    Args:
        boxes: (B, N, 4), or (N, 4) for all pictures.
        targets: of the B pictures.

    Returns:
        (B, N) int64: the place in ``targets``, ``BACKGROUND`` or ``IGNORED``.
    """
    count = len(targets.boxes)
    boxes = boxes.expand(count, -1, 4)
    pairs = max(1, boxes.shape[1] * targets.boxes.shape[1])
    step = max(1, _AT_ONCE // pairs)
    parts = []
    for start in range(0, count, step):
        some = slice(start, start + step)
        iou, covered = compare(boxes[some], targets.select(some))
        parts.append(_assigned(iou, covered, high, low, every_target))
    return torch.cat(parts) if parts else boxes.new_zeros(0, boxes.shape[1], dtype=torch.int64)


def _assigned(iou: Tensor, covered: Tensor, high: float, low: float, every: bool) -> Tensor:
    best, place = iou.max(2)
    found = torch.where(best >= high, place, torch.where(best >= low, IGNORED, BACKGROUND))
    if every:
        highest = iou.amax(1, keepdim=True) if iou.shape[1] else iou.new_zeros(len(iou), 1, 1)
        found = torch.where(((iou == highest) & (iou > 0)).any(2), place, found)
    return torch.where(covered & (found < 0), IGNORED, found)


def assign_regions(regions: Regions, targets: Targets, threshold: float) -> Tensor:
    """(R,) the place in the targets of the region's picture, ``BACKGROUND`` or ``IGNORED``: as
    ``assign`` with ``high = low = threshold``."""
    own = targets.select(regions.pictures)
    iou, covered = compare(regions.boxes[:, None], own)
    return _assigned(iou, covered, threshold, threshold, False)[:, 0]


def best_overlap(regions: Regions, labels: BoxLabels) -> Tensor:
    """(R,) the largest IoU of each region with a box of its picture, whatever that is; 0 of none."""
    plain = replace(labels, crowd=torch.zeros_like(labels.crowd), masks=None)
    targets = Targets.of(plain, regions.boxes.device).select(regions.pictures)
    overlap, _ = compare(regions.boxes[:, None], targets)
    return overlap[:, 0].amax(1).clamp_min(0)


def sample(
    labels: Tensor, groups: Tensor, count: int, fraction: float, draws: Draws
) -> tuple[Tensor, Tensor]:
    """A random choice of positives and negatives within each group.

    Of each group at most ``int(count * fraction)`` positives, and negatives up to ``count``.

    Args:
        labels: (R,) positive (> 0), negative (0) or neither (< 0).
        groups: (R,) the picture of each.

    Returns:
        two (R,) bool: chosen positives, chosen negatives.
    """
    # A fork, because how many numbers are drawn differs between processes.
    keys = draws.fork().uniform(len(labels)).to(labels.device)
    positive = (labels > 0) & (_ranked(labels > 0, keys, groups) < int(count * fraction))
    size = int(groups.max()) + 1 if len(groups) else 0
    taken = torch.bincount(groups[positive], minlength=size)
    negative = (labels == 0) & (_ranked(labels == 0, keys, groups) < count - taken[groups])
    return positive, negative


def _ranked(chosen: Tensor, keys: Tensor, groups: Tensor) -> Tensor:
    """(R,) the rank of the chosen among those of their group; 0 for others."""
    ranks = torch.zeros_like(groups)
    ranks[chosen] = rank_in_group(keys[chosen], groups[chosen])
    return ranks


def rank_in_group(keys: Tensor, groups: Tensor) -> Tensor:
    """(R,) int64: how many of the same group have a smaller key (ties in their order)."""
    order = keys.argsort(stable=True)
    order = order[groups[order].argsort(stable=True)]
    counts = torch.bincount(groups)
    starts = counts.cumsum(0) - counts
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device) - starts[groups[order]]
    return ranks


def suppress(
    boxes: Tensor, keys: Tensor, kinds: Tensor, pictures: Tensor, *, nms: float, most: int
) -> Tensor:
    """The rows that are left after non-maximum suppression, by picture and falling key.

    Of rows of one picture and one kind whose IoU is above ``nms`` the one with the highest key is
    kept, and then at most ``most`` of each picture.

    Args:
        boxes: (R, 4). keys, kinds, pictures: (R,); ``kinds`` from 0 on.

    Returns:
        int64 positions.
    """
    if not len(boxes):
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    groups = pictures * (kinds.max() + 1) + kinds
    # Groups are told apart by an offset, which leaves too few digits of float32 to the boxes.
    keep = batched_nms(boxes.double(), keys.double(), groups, nms)
    keep = keep[pictures[keep].argsort(stable=True)]
    counts = torch.bincount(pictures[keep])
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(keep), device=keep.device) - starts[pictures[keep]]
    return keep[place < most]


def clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """``boxes`` (..., 4) cut at the border of pictures of ``size`` (height, width)."""
    limits = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    return torch.minimum(boxes.clamp_min(0), limits)
