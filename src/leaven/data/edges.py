"""Edges of pictures as thin lines."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from leaven.cielab import same_lightness

_SPREAD, _RADIUS = 1.0, 2
_SECTORS = 4
_STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))
"""Down and to the right, from a pixel to its neighbour along a gradient of 0, 45, 90, 135 degrees."""


def edges(pictures: Tensor, low: float = 0.05, high: float = 0.1) -> Tensor:
    """Canny's edges: black lines of one pixel on white.

    The grey picture is smoothed by a Gaussian of one pixel. The gradient is Sobel's, as the change of
    brightness over two pixels in units of the whole range. A pixel is an edge where its gradient is
    the largest of three along its direction (in steps of 45 degrees) and at least ``high``, or at
    least ``low`` and joined to such a pixel over others of that kind.

    Args:
        pictures: (B, C, H, W) uint8, one channel or three.
        low, high: limits, 0 < low <= high.

    Returns:
        (B, 1, H, W) uint8, 0 on edges and 255 elsewhere.

    Source: Canny, "A computational approach to edge detection", PAMI 1986. In place of the learned
    edges (HED) of Isola et al., CVPR 2017. Used by: 044.
    """
    grey = same_lightness(pictures) if pictures.shape[1] == 3 else pictures
    across, down = _sobel(_smoothed(grey.float() / 255))
    size = (across.square() + down.square()).sqrt()
    thin = size * _largest(size, across, down)
    strong, weak = thin >= high, thin >= low
    while True:
        grown = weak & (functional.max_pool2d(strong.float(), 3, 1, 1) > 0)
        if torch.equal(grown, strong):
            return torch.where(strong, 0, 255).to(torch.uint8)
        strong = grown


def _smoothed(grey: Tensor) -> Tensor:
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, device=grey.device)
    weights = torch.softmax(-(offsets.float() ** 2) / (2 * _SPREAD**2), 0)
    wide = functional.pad(grey, (_RADIUS,) * 4, mode="replicate")
    along = functional.conv2d(wide, weights.view(1, 1, 1, -1))
    return functional.conv2d(along, weights.view(1, 1, -1, 1))


def _sobel(grey: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients (B, 1, H, W) to the right and down."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=grey.device) / 4
    both = torch.stack([kernel, kernel.T])[:, None]
    found = functional.conv2d(functional.pad(grey, (1,) * 4, mode="replicate"), both)
    return found[:, :1], found[:, 1:]


def _largest(size: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """(B, 1, H, W) bool: no neighbour along the gradient has a larger one; of two equal ones the
    first counts."""
    sector = (torch.atan2(down, across) / torch.pi * _SECTORS).round().long() % _SECTORS
    height, width = size.shape[2:]
    framed = functional.pad(size, (1,) * 4)
    kept = torch.zeros_like(size, dtype=torch.bool)
    for number, (y, x) in enumerate(_STEPS):
        ahead = framed[..., 1 + y : 1 + y + height, 1 + x : 1 + x + width]
        behind = framed[..., 1 - y : 1 - y + height, 1 - x : 1 - x + width]
        kept |= (sector == number) & (size >= ahead) & (size > behind)
    return kept
