"""A DeepLabV3+ that trains on a processor in minutes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models.segmentation.layers import DeepLabDecoder, check_widths, conv_norm
from leaven.models.segmentation.segmenter import SegmentationNet
from leaven.models.small import Norm, initialise, norm_layer


class DeepLabSmall(SegmentationNet):
    """``deeplab-small``: four residual stages, pyramid and low-level skip, 0.53 million weights.

    A 3x3 stem of stride 2, then one residual block per stage. With ``output_stride`` 8 the stages
    are at strides 2, 4, 8 and 8, with 4 at 2, 4, 4 and 4; where a stage does not halve, its
    convolutions are dilated by as much more. ``encode`` gives the maps of the first stage (the
    low-level skip) and of the last. Pixel features are at stride 2.

    Args:
        shape: (C, H, W) of the pictures; any H and W, one of them above ``output_stride``.
        widths: channels of the four stages.
        output_stride: 4 or 8.
        width: D, of the pyramid and of the pixel features.
        rates: dilations of the pyramid.
        norm: ``"batch"`` or ``"group"``.

    Raises:
        ModelError: not four widths, one below 1, another output stride.

    Source: Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018.
    """

    align_corners = True
    decoder_parts = ("decoder",)

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        widths: Sequence[int] = (24, 48, 96, 96),
        output_stride: int = 8,
        width: int = 48,
        rates: Sequence[int] = (2, 4, 6),
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        check_widths(widths)
        if len(widths) != 4 or output_stride not in (4, 8):
            raise ModelError(
                f"widths={list(widths)}, output_stride={output_stride}",
                "four widths, and output_stride 4 or 8",
                "Change the option.",
            )
        self.num_features = width
        self.stem = conv_norm(shape[0], widths[0], stride=2, norm=norm)
        self.stages = nn.ModuleList()
        inputs, stride, dilation = widths[0], 2, 1
        for number, outputs in enumerate(widths):
            halves = number in (1, 2) and stride < output_stride
            if number and not halves:
                dilation *= 2
            stride *= 2 if halves else 1
            self.stages.append(_ResidualBlock(inputs, outputs, 2 if halves else 1, dilation, norm))
            inputs = outputs
        self.decoder = DeepLabDecoder(
            widths[0], widths[-1], width=width, low=16, rates=rates, norm=norm
        )
        initialise(self)

    def encode(self, images: Tensor) -> list[Tensor]:
        low = maps = self.stages[0](self.stem(images))
        for stage in self.stages[1:]:
            maps = stage(maps)
        return [low, maps]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        return self.decoder(features[0], features[-1])


class _ResidualBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)) with dilated convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, norm: Norm) -> None:
        super().__init__()
        self.first = conv_norm(inputs, outputs, stride=stride, dilation=dilation, norm=norm)
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=dilation, dilation=dilation, bias=False),
            norm_layer(norm, outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm_layer(norm, outputs)
            )

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.second(self.first(maps)) + self.shortcut(maps), inplace=True)
