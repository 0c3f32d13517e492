"""What a run of PixArt-alpha is made of: its network, its sizes, and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from leaven.errors import ConfigError, nearest
from leaven.models.generation import SHAPES, TransformerShape

SMALL = 256
"""Networks of a smaller width are trained as small ones."""

PUBLISHED_TOKENS = 120
_LARGE = 1024
_MOST_PATCHES = 16
_BATCHES = ((256, 176), (512, 40), (1024, 12))


@dataclass(frozen=True)
class Scale:
    """How networks of a kind are trained where nobody says otherwise.

    Attributes:
        lr: highest learning rate.
        scaled: it is multiplied by ``sqrt(batch / 256)``.
        warm_up: steps of a rising rate, at most a twentieth of a stage.
        ema: decay of the averaged weights.
        shares: of the budget, of the three stages.
        checkpointing: activations are computed again in the backward pass.
    """

    lr: float
    scaled: bool
    warm_up: int
    ema: float
    shares: tuple[float, float, float]
    checkpointing: bool


PUBLISHED = Scale(2e-5, True, 1000, 0.9999, (300 / 656, 150 / 656, 206 / 656), True)
"""As published: 300,000, 150,000 and 90,000 + 100,000 + 16,000 steps."""

OF_SMALL = Scale(1e-3, False, 100, 0.995, (0.4, 0.45, 0.15), False)
"""Networks of a few hundred thousand weights, a few thousand steps: a rate of 2e-5 would leave them
where they began, and words need more steps than pixels, which they find copied."""


def scale_of(shape: TransformerShape) -> Scale:
    """How a network of this shape is trained."""
    return OF_SMALL if shape.width < SMALL else PUBLISHED


def batch_of(shape: TransformerShape, side: int) -> int:
    """Pictures of ``side`` pixels per step: 64 of small networks; else what was published for one
    processor."""
    if shape.width < SMALL:
        return 64
    return next((batch for most, batch in _BATCHES if side <= most), _BATCHES[-1][1])


def shape_of(
    name: str,
    options: dict[str, Any],
    side: int,
    channels: int,
    factor: int,
    text: tuple[int, int],
) -> TransformerShape:
    """The network of the first two stages, but for the rows of its latents.

    Args:
        name: of ``SHAPES``, or "auto": ``small`` for latents of an autoencoder, and for pictures as
            they are ``digits``, wider and deeper where they have colours, with patches of which there
            are 16 by 16 at most.
        options: fields of ``TransformerShape`` that are to be others.
        side: the longer one of the pictures.
        channels, factor: of the latents.
        text: tokens and width of the features of captions.

    Raises:
        ConfigError: no network of that name, or a field that cannot be chosen.
    """
    if name == "auto":
        name = "small" if factor > 1 else "digits"
        if factor == 1:
            patch = max(2, 2 ** math.ceil(math.log2(side / _MOST_PATCHES)))
            usual = {"patch": patch} | ({"width": 96, "blocks": 4} if channels > 1 else {})
            options = usual | options
    if name not in SHAPES:
        raise ConfigError(
            f"There is no network {name!r} that makes pictures from words.",
            "auto or one of " + ", ".join(SHAPES),
            nearest(name, SHAPES),
        )
    known = {field.name for field in fields(TransformerShape)}
    chosen = known - {"channels", "side", "text_width", "tokens", "sizes", "interpolation"}
    wrong = sorted({*options} - chosen)
    if wrong:
        raise ConfigError(
            f"The network has no option {wrong[0]!r} to choose.",
            ", ".join(sorted(chosen)),
            "the data and the encoders say the rest.",
        )
    shape = SHAPES[name]
    # The side is set by each stage; here it only has to fit the patch.
    patch = int(options.get("patch", shape.patch))
    return replace(
        shape,
        **{**options, "channels": channels, "side": patch},
        tokens=text[0],
        text_width=text[1],
        sizes=False,
        interpolation=1.0,
    )


@dataclass(frozen=True)
class Sizes:
    """The pictures of the stages.

    Attributes:
        base: height and width in the first two stages.
        finer: of the third one after the other.
    """

    base: tuple[int, int]
    finer: tuple[tuple[int, int], ...]


def sizes_of(
    final: tuple[int, int], base: int | None, finer: Sequence[int] | None, multiple: int
) -> Sizes:
    """The sizes of the stages, all multiples of ``multiple`` and of one aspect.

    Args:
        final: height and width of the pictures of the data.
        base: the side of the first two stages; two thirds of ``final`` when None, or half of it and
            256 at most where that is 128 or more.
        finer: sides of the third stage; that of ``final`` alone when None.
        multiple: patch times pixels per row of the latents.

    Raises:
        ConfigError: a size that is no multiple, or one that is smaller than the one before.
    """
    side = max(final)
    if base is None:
        wanted = min(256, side / 2) if side >= 256 else side * 2 / 3
        fitting = [
            one
            for one in range(multiple, side + 1, multiple)
            if not any(value * one % (side * multiple) for value in final)
        ]
        base = min(fitting or [side], key=lambda one: abs(one - wanted))
    sides = [base, *([side] if finer is None else finer)]
    for one in sides:
        height, width = (value * one / side for value in final)
        if height % multiple or width % multiple:
            raise ConfigError(
                f"Pictures of {height:g} x {width:g} pixels cannot be cut into patches of"
                f" {multiple}.",
                f"heights and widths that are multiples of {multiple}",
                "choose another --image-size, or other sizes with --set base=N, --set finer=[N].",
            )
    if sorted(sides) != sides:
        raise ConfigError(
            f"The stages have pictures of {', '.join(map(str, sides))} pixels.",
            "sizes that do not shrink from stage to stage",
            "correct --set base=N or --set finer=[N].",
        )
    both = [(final[0] * one // side, final[1] * one // side) for one in sides]
    return Sizes(both[0], tuple(both[1:]))


def interpolation_of(side: int, wanted: float | None) -> float:
    """s: what is wanted, else 2 from 1024 pixels on and 1 below."""
    if wanted is not None:
        return wanted
    return 2.0 if side >= _LARGE else 1.0
