"""Where a whole picture lies in the shape that all pictures of a job have.

Labels with places need the whole picture and a way back: a picture of height h and width w is
scaled by one factor ``min(H / h, W / w)`` and put into the upper left of the shape (H, W). Where
that would leave a rim of less than 2 %, both sides are stretched to fit, each by its own factor.
A place at (x, y) of the picture is then at (x * fx, y * fy) of the shape.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from leaven.labels.boxes import BoxLabels
from leaven.labels.pixels import VOID

RIM = 0.02
"""The share of a side that may be stretched away."""

BESIDE = 114
"""The grey beside a picture that does not fill the shape."""


def factors(sizes: Tensor, shape: tuple[int, int]) -> Tensor:
    """(n, 2) float64 factors along x and y, of pictures of ``sizes`` (n, 2), height and width."""
    height, width = sizes.double().unbind(1)
    along_y, along_x = shape[0] / height, shape[1] / width
    both = torch.minimum(along_y, along_x)
    stretched = (along_x / along_y).log().abs() <= -math.log1p(-RIM)
    return torch.stack(
        [torch.where(stretched, along_x, both), torch.where(stretched, along_y, both)], 1
    )


def content(size: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width that a picture of ``size`` takes of the shape, at least 1 each."""
    height, width = contents(torch.tensor([size]), shape)[0].tolist()
    return height, width


def placed_boxes(boxes: BoxLabels, sizes: Tensor, shape: tuple[int, int]) -> BoxLabels:
    """Boxes (and masks) of pictures as they were found, in pictures of the ``shape``."""
    placed = boxes.scaled(factors(sizes, shape))
    if boxes.masks is None:
        return placed
    parts = contents(sizes, shape)
    masks = boxes.masks.resized(parts[boxes.pictures]).padded(shape)
    return replace(placed, masks=masks)


def found_boxes(boxes: BoxLabels, sizes: Tensor, shape: tuple[int, int]) -> BoxLabels:
    """The way back of ``placed_boxes``: boxes in pictures as they were found, cut at their rims."""
    found = boxes.cpu().scaled(1 / factors(sizes, shape))
    limit = sizes.flip(1).float()[found.pictures].repeat(1, 2)
    found = replace(found, boxes=found.boxes.clamp_min(0).minimum(limit))
    if found.masks is None:
        return found
    parts = contents(sizes, shape)
    masks = found.masks.cut(parts[found.pictures]).resized(sizes[found.pictures])
    return replace(found, masks=masks)


def placed_map(stored: Tensor, shape: tuple[int, int]) -> Tensor:
    """A label map (h, w) uint8 in the ``shape``, by nearest pixel; void beside it."""
    part = content((stored.shape[0], stored.shape[1]), shape)
    scaled = interpolate(stored[None, None], part, mode="nearest-exact")[0, 0]
    if part == shape:
        return scaled
    whole = torch.full(shape, VOID, dtype=stored.dtype)
    whole[: part[0], : part[1]] = scaled
    return whole


def found_map(placed: Tensor, size: tuple[int, int]) -> Tensor:
    """The way back of ``placed_map``: a map (H, W) of any type in the size of the picture."""
    part = content(size, (placed.shape[0], placed.shape[1]))
    shown = placed[: part[0], : part[1]]
    return interpolate(shown[None, None].float(), size, mode="nearest-exact")[0, 0].to(placed)


def fitting_shape(sizes: Tensor, longest: int, multiple: int = 8) -> tuple[int, int]:
    """A shape for pictures of ``sizes`` (n, 2): the median aspect, its longer side ``longest``.

    Sides are multiples of ``multiple`` so that nets can halve them. Pictures of one size that is no
    longer keep it.
    """
    if bool((sizes == sizes[0]).all()) and int(sizes.max()) <= longest:
        return int(sizes[0, 0]), int(sizes[0, 1])
    aspect = float((sizes[:, 0].double() / sizes[:, 1]).median())
    height, width = (longest, longest / aspect) if aspect > 1 else (longest * aspect, longest)
    return _multiple(height, multiple), _multiple(width, multiple)


def contents(sizes: Tensor, shape: tuple[int, int]) -> Tensor:
    """(n, 2) int64, ``content`` of each picture."""
    scaled = (sizes * factors(sizes, shape).flip(1)).round().long()
    return scaled.clamp_min(1).minimum(torch.tensor(shape))


def _multiple(side: float, of: int) -> int:
    return max(of, round(side / of) * of)
