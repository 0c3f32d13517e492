"""Critics of pictures that judge patch by patch how real a picture is."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from leaven.models.classifier import Classifier
from leaven.models.precision import autocast

_SLOPE, _PATCH_SLOPE = 0.01, 0.2
_WIDEST = 8
"""Times the first width, the channels of a ``PatchDiscriminator`` at most."""


class PatchEncoder(nn.Module):
    """Strided 4x4 convolutions without normalisation: the body of a patch critic.

    (B, C, H, W) to (B, D), the last map in a row; ``map_shape`` is its shape.

    Args:
        shape: (C, H, W).
        width: channels after the first convolution, which double with each further one.
        depth: convolutions of stride 2; as many as halve the shorter side down to 1, at most.

    Source: Choi et al., StarGAN, 2018; Isola et al., Image-to-image translation, 2017. Used by: 050.
    """

    def __init__(self, shape: tuple[int, ...], *, width: int = 64, depth: int = 6) -> None:
        super().__init__()
        if min(width, depth) < 1:
            raise ValueError(f"width and depth are 1 or more, not {width} and {depth}")
        channels, *sides = shape
        depth = max(1, min(depth, min(sides).bit_length() - 1))
        outputs = [width << level for level in range(depth)]
        layers: list[nn.Module] = []
        for inputs, channels_out in zip([channels, *outputs], outputs, strict=False):
            layers += _convolution(inputs, channels_out, slope=_SLOPE)
            sides = [max(1, side // 2) for side in sides]
        self.body = nn.Sequential(*layers)
        self.map_shape = (outputs[-1], *sides)
        self.num_features = outputs[-1] * sides[0] * sides[1]

    def forward(self, pictures: Tensor) -> Tensor:
        return self.body(pictures).flatten(1)


class PatchCritic(nn.Module):
    """A classifier with a ``PatchEncoder``, and a score of realism for every patch.

    A linear head on the whole map is a convolution of its full size. Scores are a 3x3 convolution.

    Args:
        classifier: built with the model ``patch-critic``.

    Source: Choi et al., StarGAN, 2018. Used by: 050.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        assert isinstance(classifier.encoder, PatchEncoder)
        self.classifier = classifier
        self.map_shape = classifier.encoder.map_shape
        self.realism = nn.Conv2d(self.map_shape[0], 1, 3, padding=1, bias=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, 1, h, w), without bounds, and logits (B, K)."""
        features = self.classifier.features(pictures)
        return self.realism(features.unflatten(1, self.map_shape)), self.classifier.classify(
            features
        )


class PatchDiscriminator(nn.Module):
    """PatchGAN: a map of logits, each of which judges one patch of the picture.

    ``layers`` 4x4 convolutions of stride 2 (widths w, 2w, 4w, 8w, 8w, ...), one of stride 1, and one
    of stride 1 to a single channel; LeakyReLU(0.2) between them, batch norm but for the first and
    the last. With no layers all convolutions are 1x1 (w, 2w, 1): every pixel is judged by itself.
    Conditional on other pictures, these are further channels of what goes in.

    (B, C, H, W) to (B, 1, h, w) float32 logits; fully convolutional, so any size will do that leaves
    a map, see ``least_side``. The side of a patch is ``receptive_field(layers)``: 1, 16, 34, 70, 142
    and 286 for 0 to 5 layers.

    Args:
        channels: C.
        layers: 0 or more.
        width: w.

    Raises:
        ValueError: fewer than 0 layers, or no channels.

    Source: Isola et al., Image-to-image translation with conditional adversarial networks, CVPR 2017.
    Used by: 044.
    """

    def __init__(self, channels: int, layers: int = 3, width: int = 64) -> None:
        super().__init__()
        if layers < 0 or min(channels, width) < 1:
            raise ValueError(f"{layers} layers of {width} channels on {channels}")
        self.precision: torch.dtype | None = None
        self.layers = layers
        if layers == 0:
            parts = [
                *_convolution(channels, width, 1, 1, slope=_PATCH_SLOPE),
                *_convolution(width, 2 * width, 1, 1, slope=_PATCH_SLOPE, norm=True),
                nn.Conv2d(2 * width, 1, 1),
            ]
        else:
            widths = [width * min(_WIDEST, 1 << level) for level in range(layers + 1)]
            parts = [*_convolution(channels, width, slope=_PATCH_SLOPE)]
            for level in range(1, layers + 1):
                stride = 2 if level < layers else 1
                inputs, outputs = widths[level - 1], widths[level]
                parts += _convolution(inputs, outputs, 4, stride, slope=_PATCH_SLOPE, norm=True)
            parts.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.body = nn.Sequential(*parts)

    def forward(self, pictures: Tensor) -> Tensor:
        with autocast(pictures, self.precision):
            return self.body(pictures).float()


def receptive_field(layers: int) -> int:
    """The side in pixels of what one cell of a ``PatchDiscriminator`` judges.

    From the output back ``r <- (r - 1) stride + kernel``, from 1.
    """
    if layers == 0:
        return 1
    field = 1
    for stride in (1, 1, *[2] * layers):
        field = (field - 1) * stride + 4
    return field


def least_side(layers: int) -> int:
    """The shortest side of a picture of which a ``PatchDiscriminator`` of ``layers`` has a map, and
    batch norm more than one value of a single picture."""
    return 2 if layers == 0 else 3 << layers


def usual_layers(side: int, most: int = 3) -> int:
    """Layers for pictures whose shorter side is ``side``: the most whose patch is at most 0.6 of it.

    3 from 117 pixels on, 2 from 57, 1 from 27.
    """
    fitting = [n for n in range(1, most + 1) if receptive_field(n) <= 0.6 * side]
    return max(fitting, default=0)


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int = 4,
    stride: int = 2,
    *,
    slope: float,
    norm: bool = False,
) -> Iterator[nn.Module]:
    """A convolution, its batch norm where wanted, and a LeakyReLU."""
    padding = 1 if kernel > 1 else 0
    # Batch norm takes away what a bias adds.
    yield nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not norm)
    if norm:
        yield nn.BatchNorm2d(outputs)
    yield nn.LeakyReLU(slope)
