"""The head of one-stage detectors: two towers of convolutions over every level of a pyramid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_PRIOR = 0.01
"""The probability of every class at the start (Lin et al., 2017)."""


@dataclass(frozen=True, slots=True)
class DenseOutputs:
    """What a one-stage detector says at each of the N = sum_l h_l w_l A anchors of each picture,
    ordered by level, row, column and anchor.

    Attributes:
        logits: (B, N, K) float32, of the sigmoid of each class.
        location: (B, N, 4) float32, in the code of the detector.
        boxes: (B, N, 4) float32, decoded, x1, y1, x2, y2 in pixels, not cut at the border.
        centreness: (B, N) float32 logits, or None.
        anchors: (N, 4) float32, in pixels.
        strides: (N,) float32, pixels per cell.
        grids: of each level (h, w).
        size: (height, width) of the pictures.
        class_towers, box_towers: of each level, the outputs (B, C, h, w) of the convolutions of
            the tower, in order.
    """

    logits: Tensor
    location: Tensor
    boxes: Tensor
    centreness: Tensor | None
    anchors: Tensor
    strides: Tensor
    grids: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    class_towers: tuple[tuple[Tensor, ...], ...]
    box_towers: tuple[tuple[Tensor, ...], ...]

    @property
    def points(self) -> Tensor:
        """(N, 2) the centre of each anchor, x and y in pixels."""
        return (self.anchors[:, :2] + self.anchors[:, 2:]) / 2

    @property
    def counts(self) -> list[int]:
        """The anchors of each level."""
        cells = [height * width for height, width in self.grids]
        each = len(self.anchors) // sum(cells)
        return [number * each for number in cells]

    def maps(self, rows: Tensor) -> list[Tensor]:
        """Rows (B, N, D) as one map (B, A D, h, w) for each level."""
        parts = rows.split(self.counts, 1)
        return [
            part.reshape(part.shape[0], height, width, -1).permute(0, 3, 1, 2)
            for part, (height, width) in zip(parts, self.grids, strict=True)
        ]


class _Conv(nn.Sequential):
    """A 3x3 convolution, group norm when there are groups, and ReLU."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(nn.Conv2d(channels, channels, 3, padding=1))
        if groups:
            self.append(nn.GroupNorm(groups, channels))
        self.append(nn.ReLU())


class DenseHead(nn.Module):
    """A class tower and a box tower, shared by all levels, and a 3x3 convolution on each.

    Args:
        channels: of the maps and the towers.
        anchors: A, per cell.
        num_classes: K.
        depth: convolutions per tower.
        groups: of the group norm behind each; 0 for none.
        centreness: with one more output on the box tower.
        distance: the start value of every box output.
    """

    def __init__(
        self,
        channels: int,
        anchors: int,
        num_classes: int,
        *,
        depth: int = 4,
        groups: int = 0,
        centreness: bool = False,
        distance: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_tower = nn.ModuleList(_Conv(channels, groups) for _ in range(depth))
        self.box_tower = nn.ModuleList(_Conv(channels, groups) for _ in range(depth))
        self.class_logits = nn.Conv2d(channels, anchors * num_classes, 3, padding=1)
        self.location = nn.Conv2d(channels, anchors * 4, 3, padding=1)
        self.centreness = nn.Conv2d(channels, anchors, 3, padding=1) if centreness else None
        for part in self.modules():
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                nn.init.normal_(part.weight, std=0.01)
                nn.init.zeros_(part.bias)
        nn.init.constant_(self.class_logits.bias, -math.log((1 - _PRIOR) / _PRIOR))  # type: ignore[arg-type]
        nn.init.constant_(self.location.bias, distance)  # type: ignore[arg-type]

    def forward(
        self, maps: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor | None, list[tuple[Tensor, ...]], list[tuple[Tensor, ...]]]:
        """Logits (B, N, K), location (B, N, 4), centreness (B, N) or None, and both towers."""
        classed = [_run(self.class_tower, level) for level in maps]
        placed = [_run(self.box_tower, level) for level in maps]
        logits = [rows_of(self.class_logits(tower[-1]), self.num_classes) for tower in classed]
        location = [rows_of(self.location(tower[-1]), 4) for tower in placed]
        centred = None
        if self.centreness is not None:
            each = [rows_of(self.centreness(tower[-1]), 1) for tower in placed]
            centred = torch.cat(each, 1)[..., 0].float()
        return (
            torch.cat(logits, 1).float(),
            torch.cat(location, 1).float(),
            centred,
            classed,
            placed,
        )


def _run(tower: nn.ModuleList, level: Tensor) -> tuple[Tensor, ...]:
    outputs = []
    for part in tower:
        level = part(level)
        outputs.append(level)
    return tuple(outputs)


def rows_of(level: Tensor, values: int) -> Tensor:
    """(B, A values, h, w) to (B, h w A, values)."""
    count, _, height, width = level.shape
    level = level.view(count, -1, values, height, width)
    return level.permute(0, 3, 4, 1, 2).reshape(count, -1, values)
