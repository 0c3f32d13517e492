"""A U-Net that turns pictures into other ones: the generator of pix2pix."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from leaven.cielab import lab_of, lightness_of, rgb_of
from leaven.models.classifier import ModelSpec
from leaven.models.generation.maker import PictureMaker
from leaven.models.precision import autocast

NAME = "unet-translator"

DEEPEST, SHALLOWEST = 8, 2
_WIDEST = 8
"""Times the first width, the channels at most."""
_DROPPED = 3
"""Levels of the decoder with dropout."""
_SLOPE = 0.2
_MOST_PADDED = 1.3
"""How much larger the padded picture may be for another level."""
_AT_ONCE = 16
_MIDDLE, _HALF_LIGHTNESS, _MOST_COLOUR = 127.5, 50.0, 110.0


class BatchNorm(nn.Module):
    """Batch norm by the statistics of the batch at hand, in training and after it.

    ``weight (x - mean) / sqrt(variance + 1e-5) + bias`` with mean and (biased) variance of each
    channel over the batch, or, with ``alone``, over each picture: what a batch of one would give.

    Source: Isola et al., CVPR 2017, section 3.3. Used by: 044.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor, alone: bool = False) -> Tensor:
        if alone:
            return functional.instance_norm(maps, weight=self.weight, bias=self.bias)
        return functional.batch_norm(maps, None, None, self.weight, self.bias, training=True)


class UNet(nn.Module):
    """The generator of pix2pix: (B, C, H, W) to (B, ``outputs``, H, W) in (-1, 1).

    Down, ``depth`` times: LeakyReLU(0.2), 4x4 convolution of stride 2, batch norm; no activation
    before the first convolution and no norm after the first and the last, the bottleneck. Widths are
    w, 2w, 4w, 8w, 8w, ... Up, as often: ReLU, 4x4 transposed convolution of stride 2, batch norm,
    and dropout in the first three; after the last tanh in their place. What a level of the decoder
    gives is joined with the map of the encoder of the same size as it came out of its norm, before
    any activation; ``skips=False`` leaves that out.

    There is no noise that goes in: dropout is always on, also in eval mode, and batch norm takes the
    statistics of what is given. H and W are multiples of 2^depth.

    Args:
        inputs: C.
        outputs: channels that come out.
        width: w.
        depth: 2 to 8; 8 take 256 pixels down to one.
        skips: whether maps of the encoder are joined.
        dropout: the rate.

    Raises:
        ValueError: another depth.

    Source: Isola et al., Image-to-image translation with conditional adversarial networks, CVPR 2017;
    Ronneberger et al., U-Net, MICCAI 2015. Used by: 044.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 64,
        depth: int = DEEPEST,
        skips: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not SHALLOWEST <= depth <= DEEPEST:
            raise ValueError(f"a depth of {depth}; {SHALLOWEST} to {DEEPEST} are possible")
        self.depth, self.skips, self.dropout = depth, skips, dropout
        widths = [width * min(_WIDEST, 1 << level) for level in range(depth)]
        below = [inputs, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Conv2d(into, out, 4, 2, 1, bias=False) for into, out in zip(below, widths)
        )
        # None after the first and the bottleneck: a norm of one value would make it zero.
        self.down_norm = nn.ModuleList(BatchNorm(out) for out in widths[1:-1])
        above = [*widths[-2::-1], outputs]
        joined = [widths[-1], *(out * (2 if skips else 1) for out in above[:-1])]
        last = depth - 1
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(into, out, 4, 2, 1, bias=level == last)
            for level, (into, out) in enumerate(zip(joined, above))
        )
        self.up_norm = nn.ModuleList(BatchNorm(out) for out in above[:-1])

    def forward(self, given: Tensor, alone: bool = False) -> Tensor:
        """Pictures in [-1, 1]; ``alone``: norms of each picture by itself."""
        last = self.depth - 1
        maps = [self.down[0](given)]
        for level in range(1, self.depth):
            found = self.down[level](functional.leaky_relu(maps[-1], _SLOPE))
            maps.append(found if level == last else self.down_norm[level - 1](found, alone))
        made = maps[-1]
        for level in range(last):
            made = self.up_norm[level](self.up[level](functional.relu(made)), alone)
            if level < _DROPPED:
                made = functional.dropout(made, self.dropout, training=True)
            if self.skips:
                made = torch.cat([made, maps[last - 1 - level]], 1)
        return self.up[last](functional.relu(made)).tanh()


class UNetTranslator(PictureMaker):
    """Pictures to other pictures with a ``UNet``.

    Pictures are in [-1, 1] inside, ``x / 127.5 - 1``. With ``lab`` it colours grey pictures: what goes
    in is the lightness, ``L / 50 - 1``, what comes out the two colours, ``a / 110`` and ``b / 110``, and
    the lightness of a made picture is that of the given one. Sides that are no multiple of 2^depth
    are filled up at the right and at the bottom with the last pixel, and cut again.

    Args:
        spec: ``shape`` (C, H, W) of the pictures that are made; ``options``: ``given``, the channels
            of those that go in, ``width``, ``depth``, ``skips``, ``dropout`` and ``lab``.

    Source: Isola et al., CVPR 2017. Used by: 044.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        options = dict(spec.options)
        self.given = int(options.pop("given"))
        self.lab = bool(options.pop("lab", False))
        self.wanted = 2 if self.lab else spec.shape[0]
        self.net = UNet(self.given, self.wanted, **options)

    def encode_given(self, pictures: Tensor) -> Tensor:
        """What goes in, (B, C', H, W) in [-1, 1], of uint8 pictures."""
        if self.lab:
            return lightness_of(pictures) / _HALF_LIGHTNESS - 1
        return pictures.float() / _MIDDLE - 1

    def encode_wanted(self, pictures: Tensor) -> Tensor:
        """What is to come out, (B, Cy, H, W), of uint8 pictures (B, C, H, W)."""
        if self.lab:
            return lab_of(pictures)[:, 1:] / _MOST_COLOUR
        return pictures.float() / _MIDDLE - 1

    def decode(self, given: Tensor, made: Tensor) -> Tensor:
        """uint8 pictures (B, C, H, W) of what came out for the pictures ``given``."""
        if self.lab:
            colour = made.float() * _MOST_COLOUR
            picture = rgb_of(torch.cat([lightness_of(given), colour], 1)) * 255
        else:
            picture = (made.float() + 1) * _MIDDLE
        return picture.round().clamp(0, 255).to(torch.uint8)

    def translate(self, encoded: Tensor, alone: bool = False) -> Tensor:
        """``encode_given`` pictures to (B, Cy, H, W) float32 in (-1, 1); see ``UNet``."""
        height, width = encoded.shape[2:]
        step = 1 << self.net.depth
        filled = functional.pad(encoded, (0, -width % step, 0, -height % step), mode="replicate")
        with autocast(encoded, self.precision):
            made = self.net(filled, alone)
        return made[..., :height, :width].float()

    def forward(self, given: Tensor) -> Tensor:
        return self.translate(self.encode_given(given))

    @torch.no_grad()
    def make(
        self, given: Tensor, generator: torch.Generator, *, batch: int = 1, **how: Any
    ) -> Tensor:
        """Pictures (B, C, H, W) uint8 of pictures (B, C', H, W) uint8.

        Args:
            given: pictures to translate.
            generator: of dropout.
            batch: so many pictures have the statistics of their norms in common; with 1 each has
                its own, as in the published test.
        """
        if not len(given):
            return torch.empty(0, *self.spec.shape, dtype=torch.uint8)
        seed = int(torch.randint(2**31, (), generator=generator))
        alone = batch == 1
        device = next(self.parameters()).device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            parts = [
                self.decode(part, self.translate(self.encode_given(part), alone))
                for part in given.to(device).split(_AT_ONCE if alone else batch)
            ]
        return torch.cat(parts)


def usual_depth(height: int, width: int) -> int:
    """Levels of a ``UNet`` for pictures of this size.

    As many as halve the shorter side down to 1, at most 8; fewer where filling up the sides to
    multiples of 2^depth would take more than 1.3 times the pixels.
    """
    for depth in range(min(DEEPEST, int(math.log2(min(height, width)))), SHALLOWEST, -1):
        step = 1 << depth
        filled = (height + -height % step) * (width + -width % step)
        if filled <= _MOST_PADDED * height * width:
            return depth
    return SHALLOWEST


def small_normal(model: nn.Module, spread: float = 0.02) -> nn.Module:
    """Start values of pix2pix, in place: convolutions N(0, ``spread``), norms N(1, ``spread``), no
    bias; from torch's global generator."""
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, spread)
        elif isinstance(part, BatchNorm | nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, spread)
        else:
            continue
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    return model
