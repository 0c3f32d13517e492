"""Small nets for small machines: encoders from pictures (B, C, H, W) to features (B, D).

Each encoder has ``num_features`` (D). Convolutions start from N(0, 2 / (k^2 * channels out)), as
in He et al. (2015) in "fan out" mode; normalisation layers start as the identity.
"""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from leaven.errors import ModelError

Norm = Literal["batch", "group"]

_GROUPS = 8


def norm_layer(kind: Norm, channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> nn.Module:
    """Batch norm, or group norm (Wu and He, 2018) with at most 8 groups of equal size.

    Group norm keeps no statistics of the batch, so its result does not depend on how a batch is
    divided over processes.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
    if kind == "group":
        return nn.GroupNorm(math.gcd(_GROUPS, channels), channels, eps=eps)
    raise ModelError(f"norm={kind!r}", "norm='batch' or norm='group'", "Change the option 'norm'.")


def initialise(module: nn.Module) -> None:
    """Start values of every convolution and normalisation layer inside ``module``, in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def _at_least_one(**options: int) -> None:
    for name, value in options.items():
        if value < 1:
            raise ModelError(
                f"{name}={value}", f"{name} of 1 or more", f"Change the option {name!r}."
            )


def _halvings(side: int, smallest: int, most: int) -> int:
    """How often ``side`` can be halved and stay at least ``smallest``, at most ``most`` times."""
    return min(most, max(0, int(math.log2(max(side, 1) / smallest)))) if side > smallest else 0


def _stem_halvings(side: int) -> int:
    """Pictures of 64 pixels and more are brought to 32 or more before the stages."""
    return _halvings(side, 32, 2)


class _ConvNorm(nn.Sequential):
    """Convolution, normalisation, leaky ReLU."""

    def __init__(
        self, inputs: int, outputs: int, norm: Norm, *, stride: int = 1, slope: float = 0.1
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            norm_layer(norm, outputs),
            nn.LeakyReLU(slope, inplace=True),
        )


def _stem(channels: int, width: int, side: int, norm: Norm) -> nn.Sequential:
    halvings = _stem_halvings(side)
    stem = nn.Sequential(_ConvNorm(channels, width, norm, stride=2 if halvings else 1))
    if halvings > 1:
        stem.append(nn.MaxPool2d(2))
    return stem


class SmallCNN(nn.Module):
    """``cnn-small``: three stages of two 3x3 convolutions, 0.29 million weights at width 32.

    Stages of ``width``, ``2 * width`` and ``4 * width`` channels with max pooling between them
    while at least 2 pixels remain (8x8 pictures are pooled to 2x2, 32x32 to 8x8), then the mean
    over the positions: D = ``4 * width``. Pictures of 64 pixels and more are first brought to 32
    or more by the stem.
    """

    def __init__(
        self, shape: tuple[int, int, int], *, width: int = 32, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        _at_least_one(width=width)
        channels, side = shape[0], min(shape[1:])
        poolings = _halvings(side, 2, 2)
        self.num_features = 4 * width
        self.stem = _stem(channels, width, side, norm)
        self.stages = nn.Sequential(_ConvNorm(width, width, norm))
        for stage in (1, 2):
            inputs, outputs = width << (stage - 1), width << stage
            if stage <= poolings:
                self.stages.append(nn.MaxPool2d(2))
            self.stages.append(_ConvNorm(inputs, outputs, norm))
            self.stages.append(_ConvNorm(outputs, outputs, norm))
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(self.stem(images)).mean((2, 3))


class _ResidualBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)), He et al. (2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = norm_layer(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = norm_layer(norm, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm_layer(norm, outputs)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(inputs)), inplace=True)
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(inputs), inplace=True)


class SmallResNet(nn.Module):
    """``resnet-small``: four stages of one residual block, 1.2 million weights at width 32.

    Pictures of 64 pixels and more are halved by the stem (once; twice from 128 pixels), and the
    last three stages halve while at least 4 pixels remain. D = ``8 * width``.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        width: int = 32,
        blocks: int = 1,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        _at_least_one(width=width, blocks=blocks)
        channels, side = shape[0], min(shape[1:])
        halvings = _halvings(side, 4, 3)
        self.num_features = 8 * width
        self.stem = _stem(channels, width, side, norm)
        self.stages = nn.Sequential()
        inputs = width
        for stage in range(4):
            outputs = width << stage
            for block in range(blocks):
                stride = 2 if block == 0 and 1 <= stage <= halvings else 1
                self.stages.append(_ResidualBlock(inputs, outputs, stride, norm))
                inputs = outputs
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(self.stem(images)).mean((2, 3))


class _WideBlock(nn.Module):
    """A pre-activation block: conv(act(norm(conv(act(norm(x)))))) + shortcut.

    Where the number of channels changes, the shortcut is a 1x1 convolution of x, or of
    act(norm(x)) with ``activate_shortcut``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        *,
        norm: Norm,
        momentum: float,
        dropout: float,
        activate_shortcut: bool,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(norm, inputs, momentum=momentum, eps=1e-3)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = norm_layer(norm, outputs, momentum=momentum, eps=1e-3)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.activate_shortcut = activate_shortcut
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        active = F.leaky_relu(self.norm1(inputs), 0.1)
        residue = self.conv1(active)
        residue = self.dropout(F.leaky_relu(self.norm2(residue), 0.1, inplace=True))
        return self.conv2(residue) + self.shortcut(active if self.activate_shortcut else inputs)


class WideResNet(nn.Module):
    """``wrn-<depth>-<width>``: the Wide ResNet of the semi-supervised literature.

    Zagoruyko and Komodakis (2016) as used by FixMatch (Sohn et al., 2020): a 3x3 convolution to
    16 channels, three stages of (depth - 4) / 6 pre-activation blocks with 16, 32 and 64 times
    ``width`` channels and strides 1, 2, 2; leaky ReLU 0.1, batch norm with eps 0.001, and the
    first shortcut of each stage taken after its activation. ``wrn-28-2`` has 1,467,610 weights
    with 10 classes.

    FixMatch moves the running batch statistics by ``momentum=0.001`` per step, which needs many
    thousands of steps; the default 0.1 also suits short runs.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        depth: int,
        width: int,
        norm: Norm = "batch",
        momentum: float = 0.1,
        inner_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6 or width < 1:
            raise ModelError(
                f"The model 'wrn-{depth}-{width}'.",
                "a depth of 6 n + 4 with n of 1 or more (10, 16, 22, 28, ...) and a width from 1",
                "Use for example 'wrn-28-2'.",
            )
        self.num_features = 64 * width
        self.conv = nn.Conv2d(shape[0], 16, 3, padding=1, bias=False)
        self.stages = nn.Sequential()
        inputs = 16
        for stage in range(3):
            outputs = (16 << stage) * width
            for block in range((depth - 4) // 6):
                first = block == 0
                self.stages.append(
                    _WideBlock(
                        inputs,
                        outputs,
                        2 if first and stage else 1,
                        norm=norm,
                        momentum=momentum,
                        dropout=inner_dropout,
                        activate_shortcut=first,
                    )
                )
                inputs = outputs
        self.norm = norm_layer(norm, inputs, momentum=momentum, eps=1e-3)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stages(self.conv(images))
        return F.leaky_relu(self.norm(maps), 0.1, inplace=True).mean((2, 3))


class CNN13(nn.Module):
    """``cnn-13``: the thirteen-layer net of the semi-supervised literature, D = 128.

    Laine and Aila (2017), Tarvainen and Valpola (2017): three 3x3 convolutions of 128 channels,
    pooling and dropout, three of 256, pooling and dropout, then 3x3 without padding to 512, 1x1
    to 256 and 1x1 to 128, and the mean over the positions; batch norm and leaky ReLU 0.1 after
    every convolution. (The papers also normalise the weights, which batch norm makes redundant.)
    """

    def __init__(
        self, shape: tuple[int, int, int], *, norm: Norm = "batch", inner_dropout: float = 0.5
    ) -> None:
        super().__init__()
        channels, side = shape[0], min(shape[1:])
        if side < 12:
            raise ModelError(
                f"Pictures of {shape[1]}x{shape[2]} pixels for the model 'cnn-13'.",
                "12 pixels or more on the shorter side",
                "Use the model 'cnn-small'.",
            )
        self.num_features = 128
        self.stages = nn.Sequential()
        inputs = channels
        for width in (128, 256):
            for _ in range(3):
                self.stages.append(_ConvNorm(inputs, width, norm))
                inputs = width
            self.stages.append(nn.MaxPool2d(2))
            self.stages.append(nn.Dropout(inner_dropout))
        for width, kernel in ((512, 3), (256, 1), (128, 1)):
            self.stages.append(nn.Conv2d(inputs, width, kernel, bias=False))
            self.stages.append(norm_layer(norm, width))
            self.stages.append(nn.LeakyReLU(0.1, inplace=True))
            inputs = width
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images).mean((2, 3))
