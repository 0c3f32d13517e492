"""A U-Net that trains on a processor in minutes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models.segmentation.layers import check_widths, conv_norm, fitted
from leaven.models.segmentation.segmenter import SegmentationNet
from leaven.models.small import Norm, initialise


class UNet(SegmentationNet):
    """``unet``: two 3x3 convolutions per resolution, 0.37 million weights at the default widths.

    Down by 2x2 max pooling. Up either by a 1x1 convolution to the width of the skip and bilinear
    interpolation to its size, or by a 2x2 transposed convolution of stride 2 whose last row and
    column are repeated where the size of the skip is odd. Then the skip is concatenated. Every
    3x3 convolution is followed by normalisation and ReLU. Pixel features are at the size of the
    pictures, D = ``widths[0]``; ``encode`` gives one map per resolution, of strides 1, 2, 4, ...

    Args:
        shape: (C, H, W) of the pictures; any H and W from 2 ^ (resolutions - 1), one of them
            from twice that.
        widths: channels per resolution, the finest first.
        up: ``"bilinear"`` or ``"transposed"``.
        norm: ``"batch"`` or ``"group"``.

    Raises:
        ModelError: fewer than two widths, one below 1, another ``up`` or ``norm``.

    Source: Ronneberger et al., U-Net, MICCAI 2015, with batch norm. Used by: 025, 072, 087, 117.
    """

    align_corners = True
    decoder_parts = ("shrink", "up")

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        widths: Sequence[int] = (16, 32, 64, 96),
        up: Literal["bilinear", "transposed"] = "bilinear",
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        check_widths(widths)
        if up not in ("bilinear", "transposed"):
            raise ModelError(
                f"up={up!r}", "up='bilinear' or up='transposed'", "Change the option 'up'."
            )
        self.num_features = widths[0]
        self.down = nn.ModuleList(
            _double(inputs, outputs, norm) for inputs, outputs in pairwise((shape[0], *widths))
        )
        steps = list(pairwise(widths))[::-1]
        if up == "bilinear":
            self.shrink = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in steps)
        else:
            self.shrink = nn.ModuleList(
                nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in steps
            )
        self.up = nn.ModuleList(_double(2 * fine, fine, norm) for fine, _ in steps)
        initialise(self)

    def encode(self, images: Tensor) -> list[Tensor]:
        found = [self.down[0](images)]
        for block in self.down[1:]:
            found.append(block(F.max_pool2d(found[-1], 2)))
        return found

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        *skips, maps = features
        for shrink, block, skip in zip(self.shrink, self.up, reversed(skips), strict=True):
            maps = shrink(maps)
            if isinstance(shrink, nn.ConvTranspose2d):
                rows, columns = (skip.shape[d] - maps.shape[d] for d in (2, 3))
                maps = F.pad(maps, (0, columns, 0, rows), mode="replicate")
            else:
                maps = fitted(maps, skip, align_corners=True)
            maps = block(torch.cat([skip, maps], 1))
        return maps


def _double(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        *conv_norm(inputs, outputs, norm=norm), *conv_norm(outputs, outputs, norm=norm)
    )
