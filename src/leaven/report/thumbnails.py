"""Made pictures in a size that people can see."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from leaven.report.drawing import png

SMALLEST, LARGEST = 96, 512
"""Pixels of the longer side of a shown picture, about and at most."""


def fitted(picture: Tensor) -> Tensor:
    """(3, H', W') uint8 of a picture (C, H, W) uint8 of one or three channels.

    A small picture is enlarged by a whole number, each pixel a square, so that its longer side has
    96 or more; a large one is averaged down to 512.
    """
    coloured = picture.cpu().expand(3, -1, -1)
    longer = max(coloured.shape[1:])
    if longer < SMALLEST:
        times = -(-SMALLEST // longer)
        return coloured.repeat_interleave(times, 1).repeat_interleave(times, 2)
    if longer <= LARGEST:
        return coloured
    size = [max(1, round(side * LARGEST / longer)) for side in coloured.shape[1:]]
    scaled = interpolate(coloured[None].float(), size, mode="bilinear", antialias=True)[0]
    return scaled.round().clamp(0, 255).to(torch.uint8)


def thumbnail(picture: Tensor) -> bytes:
    """``fitted`` as a small PNG."""
    return png(Image.fromarray(fitted(picture).permute(1, 2, 0).contiguous().numpy()))
