"""Evidence simulators for pixels and boxes: from known truth to what a user would have.

Masks, maps and boxes go in; points, scribbles, tags, sparse or wrong boxes and a choice of pictures
come out. All randomness comes from the seed that is passed in; the simulators run once, before
training, on the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

from leaven.errors import DataError
from leaven.labels.pixels import VOID


def interior_points(masks: Tensor, seed: int) -> Tensor:
    """One random point inside each mask, as people click: not at its edge.

    Of the pixels whose distance to the outside, in steps to any of 8 neighbours, is at least half
    of the greatest in the mask, one is drawn, all alike; what lies beyond the picture is outside.

    Args:
        masks: (m, H, W) bool.
        seed: which points.

    Returns:
        (m, 2) float32, the middle x, y of the pixel: column + 0.5, row + 0.5.

    Raises:
        DataError: a mask is empty.
    """
    masks = _checked_masks(masks)
    empty = ~masks.flatten(1).any(1)
    if bool(empty.any()):
        raise DataError(
            f"{int(empty.sum())} of {len(masks)} masks are empty, the first is number "
            f"{int(empty.nonzero()[0])}.",
            "masks with at least one pixel, in which a point can lie",
            "leave them out, for example with masks[masks.flatten(1).any(1)].",
        )
    depth = _steps_inside(masks)
    inner = 2 * depth >= depth.amax((1, 2), keepdim=True)
    place = _one_of(inner & masks, seed)
    width = masks.shape[2]
    return torch.stack([place % width + 0.5, place // width + 0.5], 1).float()


def point_labels(maps: Tensor, per_class: int, seed: int) -> Tensor:
    """Maps in which ``per_class`` random pixels of each class in each picture are known.

    Where a class has fewer pixels, all of them are. For one seed the points of a smaller
    ``per_class`` are among those of a larger one.

    Args:
        maps: (n, H, W) uint8, ``VOID`` (255) where the class is not known.
        per_class: at least 1.
        seed: which pixels.

    Returns:
        (n, H, W) uint8, ``VOID`` where there is no point.

    Raises:
        DataError: maps of another kind, or no points.
    """
    maps = _checked_maps(maps)
    if per_class < 1:
        raise DataError(
            f"{per_class} points per class are wanted.", "at least one", "correct the number."
        )
    flat = maps.flatten(1)
    order = torch.rand(flat.shape, generator=_generator(seed)).argsort(1)
    # Pixels in random order, brought together by class: the first ones of each class are kept.
    shuffled = flat.gather(1, order)
    classes, by_class = shuffled.sort(dim=1, stable=True)
    place = torch.arange(flat.shape[1]).expand_as(flat)
    begins = torch.ones_like(classes, dtype=torch.bool)
    begins[:, 1:] = classes[:, 1:] != classes[:, :-1]
    rank = place - torch.where(begins, place, 0).cummax(1).values
    kept = torch.zeros_like(begins).scatter(1, order.gather(1, by_class), rank < per_class)
    return torch.where(kept, flat, VOID).view(maps.shape)


def map_tags(maps: Tensor, count: int, min_pixels: int = 1) -> Tensor:
    """Which classes a picture shows: those with at least ``min_pixels`` pixels.

    Args:
        maps: (n, H, W) uint8 below ``count``, or ``VOID``.
        count: number of classes K.
        min_pixels: at least 1.

    Returns:
        (n, K) bool.

    Raises:
        DataError: maps of another kind, or with other values.
    """
    maps = _checked_maps(maps)
    known = maps != VOID
    if bool((known & (maps >= count)).any()):
        raise DataError(
            f"The maps hold the class {int(maps[known].max())}, and there are {count} classes.",
            f"values below {count}, or {VOID}",
            "correct the maps or the number of classes.",
        )
    pictures = torch.arange(len(maps))[:, None, None] * (VOID + 1)
    pixels = torch.bincount((pictures + maps).flatten(), minlength=len(maps) * (VOID + 1))
    return pixels.view(len(maps), VOID + 1)[:, :count] >= max(1, min_pixels)


def mask_boxes(masks: Tensor) -> Tensor:
    """(m, 4) float32, the tight x1, y1, x2, y2 of masks (m, H, W) bool; zeros for empty ones.

    ``x2`` and ``y2`` are the first column and row after the mask.

    Raises:
        DataError: masks of another kind.
    """
    masks = _checked_masks(masks)
    boxes = torch.zeros(len(masks), 4)
    if masks.numel() == 0:
        return boxes
    for axis in (0, 1):
        used = masks.any(1 + axis).byte()
        boxes[:, axis] = used.argmax(1).float()
        boxes[:, 2 + axis] = (used.shape[1] - used.flip(1).argmax(1)).float()
    boxes[~masks.flatten(1).any(1)] = 0
    return boxes


def resized_masks(masks: Tensor, radius: Tensor) -> Tensor:
    """Masks as careless people draw them: larger or smaller all around.

    With ``radius`` r > 0 all pixels within the Euclidean distance r of the mask belong to it; with
    r < 0 those within ``-r`` of the outside no longer do (beyond the picture is not outside).

    Args:
        masks: (m, H, W) bool.
        radius: (m,) int64 pixels.

    Returns:
        (m, H, W) bool; a mask may become empty.

    Raises:
        DataError: masks or radii of another kind.
    """
    masks = _checked_masks(masks)
    if radius.shape != (len(masks),) or radius.is_floating_point():
        raise DataError(
            f"The radii are {radius.dtype} of shape {tuple(radius.shape)} for {len(masks)} masks.",
            "one whole number of pixels for each mask",
            "round them, and give one for each.",
        )
    out = masks.clone()
    for reach in radius.unique().tolist():
        rows = radius == reach
        grown = masks[rows] if reach > 0 else ~masks[rows]
        grown = _grown(grown, abs(reach))
        out[rows] = grown if reach > 0 else ~grown
    return out


def random_radius(count: int, largest: int, seed: int) -> Tensor:
    """(count,) int64 uniform in ``-largest``, ..., ``largest``, for ``resized_masks``."""
    return torch.randint(-largest, largest + 1, (count,), generator=_generator(seed))


def stratified_pictures(tags: Tensor, count: int, seed: int) -> Tensor:
    """Chooses ``count`` pictures in which rare classes occur as well.

    The pictures are chosen one after the other. Each time the class comes to its turn that has the
    smallest share of its pictures among the chosen ones, the rarer one of two; one of its pictures
    is drawn. Pictures without any class are a class of their own. For one seed the choice of a
    smaller ``count`` is the beginning of that of a larger one.

    Args:
        tags: (n, K) bool, which classes each picture shows.
        count: 0..n.
        seed: which pictures.

    Returns:
        (count,) int64 positions, in the order of choice.

    Raises:
        DataError: more pictures are wanted than there are.

    Source: after K. Sechidis, G. Tsoumakas, I. Vlahavas, On the stratification of multi-label
    data, 2011.
    """
    if not 0 <= count <= len(tags):
        raise DataError(
            f"{count} pictures are to keep their labels and there are {len(tags)}.",
            f"0 to {len(tags)}",
            "ask for fewer, or bring more labelled pictures.",
        )
    shows = torch.cat([tags.bool(), ~tags.bool().any(1, keepdim=True)], 1).cpu()
    total = shows.sum(0).double()
    # Less than two shares can be apart, so that rarity decides between equal ones alone.
    rarity = total / (total.sum() + 1) / (len(tags) + 1) ** 2
    taken = torch.zeros_like(total)
    order = torch.rand(len(tags), generator=_generator(seed), dtype=torch.float64)
    chosen = []
    for _ in range(count):
        turn = torch.where(taken < total, taken / total + rarity, torch.inf)
        picture = int(torch.where(shows[:, turn.argmin()], order, torch.inf).argmin())
        order[picture] = torch.inf
        taken += shows[picture]
        chosen.append(picture)
    return torch.tensor(chosen, dtype=torch.int64)


def _steps_inside(masks: Tensor) -> Tensor:
    """(m, H, W) int64, for pixels of masks the steps to the nearest one outside; 0 outside."""
    depth = torch.zeros_like(masks, dtype=torch.int64)
    left = masks
    while bool(left.any()):
        depth += left
        # Padded with what is outside, so that the picture's edge is an edge.
        outside = pad(1.0 - left.float(), (1, 1, 1, 1), value=1.0)
        left = max_pool2d(outside[:, None], 3, stride=1)[:, 0] == 0
    return depth


def _grown(masks: Tensor, reach: int) -> Tensor:
    """All pixels within the distance ``reach`` of masks (m, H, W) bool."""
    side = torch.arange(-reach, reach + 1)
    disc = (side[:, None] ** 2 + side**2 <= reach**2).float()
    near = conv2d(masks[:, None].float(), disc[None, None], padding=reach)
    return near[:, 0] > 0.5


def _one_of(allowed: Tensor, seed: int) -> Tensor:
    """(m,) int64, a random one of the places allowed in each of (m, H, W) bool."""
    flat = allowed.flatten(1)
    drawn = torch.rand(len(flat), 1, generator=_generator(seed), dtype=torch.float64)
    wanted = (drawn * flat.sum(1, keepdim=True)).long() + 1
    return (flat.cumsum(1) >= wanted).byte().argmax(1)


def _checked_masks(masks: Tensor) -> Tensor:
    if masks.dtype != torch.bool or masks.ndim != 3:
        raise DataError(
            f"The masks are {masks.dtype} of shape {tuple(masks.shape)}.",
            "torch.bool of shape (m, H, W)",
            "compare the map with the number of the instance: instances == 1.",
        )
    return masks.cpu()


def _checked_maps(maps: Tensor) -> Tensor:
    if maps.dtype != torch.uint8 or maps.ndim != 3:
        raise DataError(
            f"The maps are {maps.dtype} of shape {tuple(maps.shape)}.",
            f"torch.uint8 of shape (n, H, W), {VOID} where the class is not known",
            "convert them; the -1 of batches becomes 255 with maps.to(torch.uint8).",
        )
    return maps.cpu()


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed % 2**63)
