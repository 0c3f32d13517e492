"""Boxes to start from, laid out in a grid over the levels of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AnchorGrid:
    """A anchors at each cell of each level, ordered by level, row, column and anchor.

    An anchor of ``size`` s and ``ratio`` r (height over width) is ``s / sqrt(r)`` wide and
    ``s sqrt(r)`` high, rounded to even pixels as torchvision does. Its centre is
    ``(cell + offset) * stride``, with the stride of a level the number of pixels over the number
    of cells.

    Attributes:
        sizes: of each level, in pixels; several give several anchors per cell.
        ratios: of all levels.
        offset: 0 for the corner of the cell, as in torchvision; 0.5 for its middle.
    """

    sizes: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...] = (1.0,)
    offset: float = 0.5

    @property
    def count(self) -> int:
        """A."""
        return len(self.sizes[0]) * len(self.ratios)

    def boxes(self, maps: Sequence[Tensor], padded: tuple[int, int]) -> list[Tensor]:
        """Of each level (h w A, 4), x1, y1, x2, y2 in pixels.

        Args:
            maps: of each level (B, C, h, w).
            padded: (height, width) of the pictures that the maps were made from.
        """
        return [
            self._level(sizes, level, padded) for sizes, level in zip(self.sizes, maps, strict=True)
        ]

    def _level(self, sizes: tuple[float, ...], level: Tensor, padded: tuple[int, int]) -> Tensor:
        height, width = level.shape[-2:]
        device = level.device
        step_y, step_x = padded[0] // height, padded[1] // width
        y = (torch.arange(height, device=device) + self.offset) * step_y
        x = (torch.arange(width, device=device) + self.offset) * step_x
        shifts = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).repeat(1, 1, 2)
        return (shifts[:, :, None] + self._cell(sizes, device)).reshape(-1, 4).float()

    def _cell(self, sizes: tuple[float, ...], device: torch.device) -> Tensor:
        """(A, 4) around the origin, sizes within ratios."""
        scales = torch.tensor(sizes, device=device)
        heights = torch.tensor(self.ratios, device=device).sqrt()
        wide = ((1 / heights)[:, None] * scales).flatten()
        high = (heights[:, None] * scales).flatten()
        return (torch.stack([-wide, -high, wide, high], 1) / 2).round()
