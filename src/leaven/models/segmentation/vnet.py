"""A V-Net for volumes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models.segmentation.layers import check_widths

STAGES = (1, 2, 3, 3, 3)
"""Convolutions per resolution on the way down, the finest first."""


class VNet(nn.Module):
    """Volumes (B, C, H, W, L) to logits (B, K, H, W, L), both float32.

    On the way down 1, 2, 3, 3, ... convolutions of 3x3x3 per resolution, each with batch norm and
    ReLU, and a convolution of 2x2x2 with stride 2 to the next; on the way up a transposed one, to
    which the maps from the way down are added, and as many convolutions as there, 1 at the finest.
    With ``dropout`` whole channels are left out after the coarsest and after the finest stage of the
    way up. It takes volumes as they are: whoever reads them normalises them.

    Args:
        channels: C.
        classes: K.
        widths: channels per resolution, the finest first; each resolution halves the sides.
        dropout: share of the channels, in [0, 1).

    Raises:
        ModelError: fewer than two widths, one below 1, or a share out of its range; in ``forward``,
            sides that cannot be halved so often.

    Source: Milletari et al., V-Net, 3DV 2016, as in the code of UA-MT and BCP: sums of maps, and no
    shortcut around a stage. Used by: 072.
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 2,
        *,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_widths(widths)
        if not 0 <= dropout < 1:
            raise ModelError(
                f"dropout={dropout}", "a share in [0, 1)", "Change the option 'dropout'."
            )
        counts = [STAGES[min(level, len(STAGES) - 1)] for level in range(len(widths))]
        self.first = _stage(channels, widths[0], counts[0])
        self.shrink = nn.ModuleList(_down(fine, coarse) for fine, coarse in pairwise(widths))
        self.down = nn.ModuleList(
            _stage(width, width, count) for width, count in zip(widths[1:], counts[1:], strict=True)
        )
        self.grow = nn.ModuleList(_up(coarse, fine) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(
            _stage(width, width, count)
            for width, count in zip(widths[:-1], counts[:-1], strict=True)
        )
        self.dropout = dropout
        self.head = nn.Conv3d(widths[0], classes, 1)

    def forward(self, volumes: Tensor) -> Tensor:
        times = 2 ** len(self.down)
        if any(side % times for side in volumes.shape[2:]):
            raise ModelError(
                f"The volumes are {tuple(volumes.shape[2:])}.",
                f"sides that are multiples of {times}",
                "Cut or pad them, or see them through windows of such sides.",
            )
        found = [self.first(volumes)]
        for shrink, stage in zip(self.shrink, self.down, strict=True):
            found.append(stage(shrink(found[-1])))
        *skips, maps = found
        maps = F.dropout3d(maps, self.dropout, self.training)
        steps = list(zip(self.grow, self.up, skips, strict=True))
        for grow, stage, skip in reversed(steps):
            maps = stage(grow(maps) + skip)
        maps = F.dropout3d(maps, self.dropout, self.training)
        return self.head(maps).float()


def _stage(inputs: int, outputs: int, count: int) -> nn.Sequential:
    widths = [inputs, *[outputs] * count]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv3d(before, after, 3, padding=1), *_norm(after)]
    return nn.Sequential(*layers)


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(inputs, outputs, 2, stride=2), *_norm(outputs))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose3d(inputs, outputs, 2, stride=2), *_norm(outputs))


def _norm(width: int) -> list[nn.Module]:
    return [nn.BatchNorm3d(width), nn.ReLU(inplace=True)]
