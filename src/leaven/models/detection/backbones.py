"""Small feature pyramids for small machines."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from leaven.models.small import Norm, initialise, norm_layer


class _Block(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)), He et al. (2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = norm_layer(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = norm_layer(norm, outputs)
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm_layer(norm, outputs)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(inputs)), inplace=True)
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(inputs), inplace=True)


class SmallPyramid(nn.Module):
    """Four convolutional stages and a top-down path: maps of ``out_channels`` at several strides.

    Stages at strides 2, 4, 8, ... of ``widths`` channels (a convolution, then residual blocks). As
    in FPN (Lin et al., 2017), a 1x1 convolution brings the output of each stage from stride 4 on
    to ``out_channels``, the coarser level is enlarged to it by the nearest neighbour and added, and
    a 3x3 convolution gives the map of the level. Group norm keeps no statistics of a batch, which
    pictures of different views and sources would disturb.

    Args:
        channels: of the pictures.
        widths: of the stages.
        out_channels: of each map.
        norm: of the stages.
        levels: how many maps, from stride 4 on; all when None.
    """

    def __init__(
        self,
        channels: int,
        widths: tuple[int, ...],
        out_channels: int,
        norm: Norm,
        levels: int | None = None,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.strides = tuple(4 << level for level in range(levels or len(widths) - 1))
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, 2, padding=1, bias=False),
            norm_layer(norm, widths[0]),
            nn.ReLU(inplace=True),
        )
        pairs = list(pairwise(widths))
        self.stages = nn.ModuleList(_Block(before, after, 2, norm) for before, after in pairs)
        self.lateral = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in widths[1:])
        self.output = nn.ModuleList(
            nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in self.strides
        )
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.with_stem(images)[1]

    def with_stem(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The maps of the first stage, at stride 2, and those of ``forward``."""
        stem = inner = self.stem(images)
        laterals = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            inner = stage(inner)
            laterals.append(lateral(inner))
        summed = [laterals[-1]]
        for lateral in reversed(laterals[:-1]):
            summed.append(lateral + F.interpolate(summed[-1], lateral.shape[-2:], mode="nearest"))
        pairs = zip(self.output, reversed(summed), strict=False)
        return stem, tuple(out(one) for out, one in pairs)


class Levels(nn.Module):
    """A torchvision backbone with a feature pyramid, whose maps come as a tuple.

    A picture of one channel is repeated to three.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.out_channels = int(body.out_channels)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.body(images.expand(-1, 3, -1, -1)).values())
