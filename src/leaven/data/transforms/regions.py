"""Rectangles and the pixels in them: drawing boxes as masks, and the boxes of masks."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor


def covered(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) bool: the pixels that any of its rectangles covers.

    A pixel is covered when its centre is: ``x1 <= u + 0.5 < x2`` and ``y1 <= v + 0.5 < y2``. A
    rectangle without area covers nothing.

    Args:
        boxes: (B, n, 4), x1, y1, x2, y2 in pixels from the upper left corner.
        size: height and width.
    """
    return _combined(boxes, size, torch.bitwise_or)


def oddly_covered(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) bool: the pixels that an odd number of rectangles covers; see ``covered``."""
    return _combined(boxes, size, torch.bitwise_xor)


def box_masks(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(m, H, W) bool: the pixels whose centres lie in each of the ``boxes`` (m, 4).

    Args:
        boxes: (m, 4), x1, y1, x2, y2 in pixels from the upper left corner.
        size: height and width.
    """
    return covered(boxes[:, None], size)


def mask_boxes(masks: Tensor) -> Tensor:
    """(m, 4) float32, the tight x1, y1, x2, y2 of ``masks`` (m, H, W) bool.

    x2 and y2 are the first column and row after the mask; an empty mask has zeros.
    """
    if masks.numel() == 0:
        return torch.zeros(len(masks), 4, device=masks.device)
    x1, x2 = _extent(masks.any(1))
    y1, y2 = _extent(masks.any(2))
    return torch.stack([x1, y1, x2, y2], 1).float()


def _extent(hit: Tensor) -> tuple[Tensor, Tensor]:
    """The first position that is hit in each row (m, n) and the one after the last."""
    flags = hit.to(torch.uint8)
    # argmax gives the first of equal values.
    first, last = flags.argmax(1), hit.shape[1] - flags.flip(1).argmax(1)
    found = hit.any(1)
    return first * found, last * found


def _combined(
    boxes: Tensor, size: tuple[int, int], combine: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    left, top, right, bottom = boxes.float()[..., None].unbind(2)
    columns = _between(size[1], left, right)
    rows = _between(size[0], top, bottom)
    if boxes.shape[1] == 0:
        return torch.zeros(len(boxes), *size, dtype=torch.bool, device=boxes.device)
    # A picture has a handful of rectangles: a step for each, of bytes, which run vectorised.
    each = (
        row[:, :, None] & column[:, None, :]
        for column, row in zip(columns.unbind(1), rows.unbind(1))
    )
    return reduce(combine, each).view(torch.bool)


def _between(side: int, low: Tensor, high: Tensor) -> Tensor:
    """uint8 0 or 1: the centre of each position lies in [low, high)."""
    centre = torch.arange(side, device=low.device, dtype=torch.float32) + 0.5
    return ((centre >= low) & (centre < high)).view(torch.uint8)
