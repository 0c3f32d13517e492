"""Copy-paste: things of one picture put into another, and what that hides of the things there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.data.transforms.regions import box_masks, mask_boxes
from leaven.draws import Draws
from leaven.errors import DataError
from leaven.labels import BoxLabels, Masks


@dataclass(frozen=True, slots=True)
class Pasted:
    """Pictures with things pasted in, and what is left to be seen of all things.

    Attributes:
        images: (B, C, H, W).
        covered: (B, H, W) bool, the pixels that were pasted.
        own, pasted: (m, H, W) and (n, H, W) bool, the visible parts of the things that were there
            and of those that were put in.
        own_share: (m,) the share in [0, 1] of its area that is left of each thing that was there; 1
            for one without area, of which nothing can be hidden.
        pasted_share: (n,) the same of the things that were put in; 0 for one without area, and for
            one that was not pasted.
    """

    images: Tensor
    covered: Tensor
    own: Tensor
    pasted: Tensor
    own_share: Tensor
    pasted_share: Tensor


def paste(
    images: Tensor,
    own: Tensor,
    pictures: Tensor,
    donors: Tensor,
    things: Tensor,
    origin: Tensor,
    onto: Tensor,
) -> Pasted:
    """Puts things of the donor pictures over pictures, at the same place, later ones on top.

    A pixel of picture ``b`` shows the last thing ``j`` with ``onto_j = b`` whose mask holds it, and
    is that pixel of ``donors[origin_j]``; where there is none it stays. What was there loses the
    pixels that were pasted, and a pasted thing those of the later ones. To move or scale the
    things, make a view of donors and masks first (``Geometry.images``, ``Geometry.masks``).

    Args:
        images: (B, C, H, W).
        own: (m, H, W) bool, the visible parts of the things there.
        pictures: (m,) int64 in 0..B-1, the picture each lies in.
        donors: (D, C, H, W) of the dtype of ``images``.
        things: (n, H, W) bool, what may be pasted.
        origin: (n,) int64 in 0..D-1, the donor picture of each.
        onto: (n,) int64 in 0..B-1, the picture each is put into; -1 for not at all.

    Raises:
        DataError: pictures and donors of another size or dtype.

    Source: Ghiasi et al., Simple Copy-Paste, CVPR 2021. Used by: 029, 096, 111.
    """
    if images.shape[1:] != donors.shape[1:] or images.dtype != donors.dtype:
        raise DataError(
            f"Pictures of shape {tuple(images.shape)} and {images.dtype} are to receive parts of "
            f"{tuple(donors.shape)} and {donors.dtype}.",
            "the same channels, height, width and dtype",
            "Make both views of one size.",
        )
    wanted = onto >= 0
    target = onto.clamp_min(0)
    top = _topmost(things & wanted[:, None, None], target, images)
    covered = top >= 0
    own_left = own & ~covered[pictures]
    number = torch.arange(len(things), device=things.device)[:, None, None]
    pasted_left = (
        (top[target] == number) & things & wanted[:, None, None] if len(things) else things
    )
    return Pasted(
        _composed(images, donors, origin, top),
        covered,
        own_left,
        pasted_left,
        _share(own_left, own, 1.0),
        _share(pasted_left, things, 0.0),
    )


def draw_pastes(
    labels: BoxLabels, draws: Draws, most: int = 8, least_confidence: float = 0.0
) -> Tensor:
    """Which thing of a batch is put into which of its pictures.

    Every picture receives from one other, by a random permutation, a random choice of 1 to ``most``
    of its things. Left out are groups (``crowd``), things that are not trusted, and those below
    ``least_confidence``; a picture that receives from itself receives nothing.

    Args:
        labels: of the batch.
        draws: a permutation, a draw per picture and a seed for the draws per thing.
        most: at least 1.
        least_confidence: in [0, 1].

    Returns:
        (m,) int64, ``onto`` of ``paste``: the picture, or -1.

    Source: Ghiasi et al., Simple Copy-Paste, CVPR 2021; at most 8 of a confidence of at least 0.75
    in CUPS, CVPR 2025. Used by: 096.
    """
    count, device = len(labels), labels.boxes.device
    receiver = draws.permutation(count).to(device)
    number = draws.integers(count, low=1, high=most + 1).to(device)
    # A source of its own: processes hold different numbers of things, and must go on in step.
    score = draws.fork().uniform(len(labels.boxes)).to(device)
    usable = labels.accepted & ~labels.crowd & (labels.confidence >= least_confidence)
    # By picture, those that may be used first, in random order: a row's place among its picture's.
    order = (labels.pictures * 4 + torch.where(usable, score, score + 2).double()).argsort()
    start = (labels.counts.cumsum(0) - labels.counts).repeat_interleave(labels.counts)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=device)
    chosen = usable & (place - start < number[labels.pictures])
    onto = receiver[labels.pictures]
    return torch.where(chosen & (onto != labels.pictures), onto, -1)


def copy_paste(
    images: Tensor,
    labels: BoxLabels,
    donors: Tensor,
    donor_labels: BoxLabels,
    onto: Tensor,
    least_visible: float = 0.1,
) -> tuple[Tensor, BoxLabels]:
    """``paste`` for labels: what is hidden too far is dropped, the rest has its new extent.

    Things are pasted by their masks, or as rectangles where the labels have boxes alone. A thing of
    which something was hidden has the box of what is left of it; the others keep their boxes as they
    are. Groups (``crowd``) are treated alike. Pasted things keep class, confidence, weight and
    source and come after those of their picture.

    Args:
        images, donors: (B, C, H, W) and (D, C, H, W).
        labels, donor_labels: of these pictures; both with masks of the size of the pictures, or
            both without.
        onto: (n,) int64, for each thing of ``donor_labels`` the picture it is put into, or -1.
        least_visible: the share of a thing's area, before this paste, that must stay visible.

    Returns:
        the pictures, and the labels of what they show.

    Raises:
        DataError: one has masks and the other has not, or pictures of another size.

    Source: Ghiasi et al., Simple Copy-Paste, CVPR 2021. Used by: 029 (boxes), 096, 111.
    """
    with_masks = _has_masks(labels, donor_labels)
    size = (images.shape[2], images.shape[3])
    chosen = onto >= 0
    origin, target = donor_labels.pictures[chosen], onto[chosen]
    donor_labels = donor_labels.keep(chosen)
    own, things = (_dense(one, with_masks, size) for one in (labels, donor_labels))
    made = paste(images, own, labels.pictures, donors, things, origin, target)

    left = torch.cat([made.own, made.pasted])
    share = torch.cat([made.own_share, made.pasted_share])
    boxes = torch.cat([labels.boxes, donor_labels.boxes])
    boxes = torch.where((share < 1)[:, None], mask_boxes(left).to(boxes), boxes)
    pictures = torch.cat([labels.pictures, target])
    kept = ((share >= least_visible) & (share > 0)).nonzero()[:, 0]
    rows = kept[pictures[kept].argsort(stable=True)]

    def column(name: str) -> Tensor:
        return torch.cat([getattr(labels, name), getattr(donor_labels, name)])[rows]

    return made.images, BoxLabels(
        boxes[rows],
        column("classes"),
        column("confidence"),
        column("weight"),
        column("source"),
        torch.bincount(pictures[rows], minlength=len(labels)),
        labels.known,
        column("crowd"),
        Masks.from_dense(left[rows]) if with_masks else None,
    )


def _topmost(things: Tensor, target: Tensor, images: Tensor) -> Tensor:
    """(B, H, W) int64, the number of the last thing on each pixel, -1 for none."""
    top = torch.full((len(images), *images.shape[2:]), -1, device=images.device)
    number = torch.arange(len(things), device=images.device)[:, None, None]
    index = target[:, None, None].expand_as(things)
    return top.scatter_reduce_(0, index, torch.where(things, number, -1), "amax")


def _composed(images: Tensor, donors: Tensor, origin: Tensor, top: Tensor) -> Tensor:
    if len(origin) == 0:
        return images
    height, width = images.shape[2:]
    plane = torch.arange(height * width, device=images.device).view(height, width)
    index = origin[top.clamp_min(0)] * (height * width) + plane
    colours = donors.transpose(0, 1).flatten(1)[:, index.view(-1)]
    pasted = colours.view(-1, *top.shape).transpose(0, 1)
    return torch.where((top >= 0)[:, None], pasted, images)


def _share(left: Tensor, whole: Tensor, without_area: float) -> Tensor:
    left_area, area = (masks.flatten(1).sum(1).float() for masks in (left, whole))
    return torch.where(area > 0, left_area / area.clamp_min(1), without_area)


def _has_masks(labels: BoxLabels, donors: BoxLabels) -> bool:
    found = [one.masks is not None for one in (labels, donors) if len(one.boxes)]
    if len(set(found)) == 2:
        raise DataError(
            "One of the labels has masks and the other has boxes alone.",
            "both with masks, or both without",
            "Drop the masks with dataclasses.replace(labels, masks=None).",
        )
    return bool(found) and found[0]


def _dense(labels: BoxLabels, with_masks: bool, size: tuple[int, int]) -> Tensor:
    """(m, H, W) bool, the masks of the things, or their rectangles."""
    if not with_masks or labels.masks is None or len(labels.masks) == 0:
        return box_masks(labels.boxes, size)
    masks = labels.masks.dense().to(labels.boxes.device)
    if tuple(masks.shape[1:]) != size:
        raise DataError(
            f"The masks are {masks.shape[1]} x {masks.shape[2]}.",
            f"the size of the pictures, {size[0]} x {size[1]}",
            "Use Masks.resized.",
        )
    return masks
