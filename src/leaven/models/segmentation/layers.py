"""What the segmentation networks share: convolution blocks, pyramids, the decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models.small import Norm, norm_layer


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    norm: Norm = "batch",
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, normalisation, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, dilation=dilation, bias=False),
        norm_layer(norm, outputs),
        nn.ReLU(inplace=True),
    )


def fitted(maps: Tensor, to: Tensor, *, align_corners: bool) -> Tensor:
    """``maps`` in the height and width of ``to``, bilinear."""
    return F.interpolate(maps, to.shape[-2:], mode="bilinear", align_corners=align_corners)


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling (ASPP).

    A 1x1 convolution, one 3x3 convolution per dilation rate and the mean over the picture, each
    to ``width`` channels with normalisation and ReLU; concatenated and brought to ``width`` by
    1x1. The mean has one value per picture and channel, so that batch norm cannot train on a
    single picture.

    (B, ``inputs``, h, w) to (B, ``width``, h, w).

    Source: Chen et al., Rethinking Atrous Convolution, 2017.
    """

    def __init__(
        self, inputs: int, width: int, rates: Sequence[int], *, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_norm(inputs, width, 1, norm=norm)])
        for rate in rates:
            self.branches.append(conv_norm(inputs, width, dilation=rate, norm=norm))
        self.pooled = conv_norm(inputs, width, 1, norm=norm)
        self.project = conv_norm((len(self.branches) + 1) * width, width, 1, norm=norm)

    def forward(self, maps: Tensor) -> Tensor:
        pooled = self.pooled(maps.mean((2, 3), keepdim=True)).expand(-1, -1, *maps.shape[2:])
        return self.project(torch.cat([*(branch(maps) for branch in self.branches), pooled], 1))


class DeepLabDecoder(nn.Module):
    """The decoder of DeepLabV3+: pyramid on the coarse map, joined with a fine one.

    ``fuse([low(fine), resize(aspp(coarse))])`` with ``low`` 1x1 and ``fuse`` two 3x3 convolutions,
    all with normalisation and ReLU. Bilinear with aligned corners.

    (B, ``fine``, h, w) and (B, ``coarse``, h', w') to (B, ``width``, h, w).

    Source: Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018, as UniMatch
    (CVPR 2023) has it. Used by: 025, 040, 057, 086, 087, 093.
    """

    def __init__(
        self,
        fine: int,
        coarse: int,
        *,
        width: int,
        low: int,
        rates: Sequence[int],
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.aspp = AtrousPyramid(coarse, width, rates, norm=norm)
        self.low = conv_norm(fine, low, 1, norm=norm)
        self.fuse = nn.Sequential(
            *conv_norm(width + low, width, norm=norm), *conv_norm(width, width, norm=norm)
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        low = self.low(fine)
        return self.fuse(torch.cat([low, fitted(self.aspp(coarse), low, align_corners=True)], 1))


def check_widths(widths: Sequence[int]) -> None:
    """Two or more whole numbers from 1, or a ``ModelError``."""
    if len(widths) < 2 or min(widths) < 1:
        raise ModelError(
            f"widths={list(widths)}", "two or more widths from 1", "Change the option 'widths'."
        )
