"""The size of a diffusion transformer: what it is built of, what it weighs and what it costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from leaven.errors import ConfigError

_TIME_WIDTH = 256
"""Width of the sinusoids of steps and sizes."""


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """What a ``TextTransformer`` or ``ClassTransformer`` is built of; the default is XL/2 at 256 px.

    Attributes:
        channels: c of the latents.
        side: rows of the latents of the pictures it is meant for; ``G = side / patch`` is the base
            grid of the positions.
        patch: p, the side of a patch.
        width: D; a multiple of 4 and of ``heads``, with ``sizes`` of 3 too.
        blocks: L.
        heads: attention heads.
        text_width: C_t, width of the features of a token.
        tokens: T, tokens of a caption.
        learned_variance: two outputs per channel, noise and variance, in the place of one.
        interpolation: s, by which coordinates are divided: 1 up to 512 px, 2 at 1024 px.
        sizes: it is told the size and the aspect ratio of the pictures.
    """

    channels: int = 4
    side: int = 32
    patch: int = 2
    width: int = 1152
    blocks: int = 28
    heads: int = 16
    text_width: int = 4096
    tokens: int = 120
    learned_variance: bool = True
    interpolation: float = 1.0
    sizes: bool = False

    def __post_init__(self) -> None:
        divisor = 12 if self.sizes else 4
        if self.width % divisor or self.width % self.heads or self.side % self.patch:
            raise ConfigError(
                f"A transformer of width {self.width} with {self.heads} heads"
                f"{', told of sizes,' if self.sizes else ''} for latents of {self.side} rows in"
                f" patches of {self.patch} cannot be built.",
                f"a width that is a multiple of {divisor} and of the heads, rows that are a multiple"
                " of the patch",
                "Change the width, the heads, the side or the patch.",
            )

    @property
    def outputs(self) -> int:
        """Channels that come out: 2c with ``learned_variance``, else c."""
        return self.channels * (2 if self.learned_variance else 1)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


SHAPES = {
    "xl-256": TransformerShape(),
    "xl-512": TransformerShape(side=64),
    "xl-1024": TransformerShape(side=128, interpolation=2.0, sizes=True),
    "small": TransformerShape(width=384, blocks=12, heads=6),
    "digits": TransformerShape(
        channels=1, side=8, width=64, blocks=3, heads=4, text_width=64, tokens=6
    ),
}
"""By name: the three published sizes, a small one for the same latents, and one for scenes of two
digits of 8 x 8 pixels."""


def count_parameters(shape: TransformerShape, *, blockwise: bool = False) -> int:
    """Trained values of a ``TextTransformer``, or with ``blockwise`` of its control.

    Per block ``4D^2 + 4D`` for each attention, ``8D^2 + 5D`` for the MLP and ``6D`` for the table;
    once ``6D^2 + 6D`` for the modulation, and the MLPs of step and text, the patches and the end.
    Sizes add two MLPs of width D/3. With ``blockwise`` every block has the ``6D^2 + 6D`` and no
    table. 610.86 M for XL/2, 611.35 M with sizes, 825.84 M blockwise.

    Source: Chen et al., PixArt-alpha, ICLR 2024. Used by: 001.
    """
    width, area = shape.width, shape.patch**2
    modulation = _linear(width, 6 * width)
    block = 8 * _linear(width, width) + _linear(width, 4 * width) + _linear(4 * width, width)
    once = _mlp(_TIME_WIDTH, width) + _mlp(shape.text_width, width)
    once += _linear(shape.channels * area, width) + _linear(width, area * shape.outputs)
    once += 2 * width
    if shape.sizes:
        once += 2 * _mlp(_TIME_WIDTH, width // 3)
    if blockwise:
        return once + shape.blocks * (block + modulation)
    return once + modulation + shape.blocks * (block + 6 * width)


def forward_flops(
    shape: TransformerShape, rows: int, columns: int, *, blockwise: bool = False
) -> int:
    """Floating-point operations of one latent of ``rows`` x ``columns`` going through, a
    multiplication and an addition counted as two.

    With ``N = rows columns / p^2`` tokens of the picture and T of the text, a block costs
    ``2 (4 N D^2 + 2 N^2 D)`` for attention among the picture, ``2 (2 N D^2 + 2 T D^2 + 2 N T D)`` for
    attention to the text and ``16 N D^2`` for the MLP. Norms, activations and sums are not counted.
    A training step costs about three times as much, four times with ``checkpointing``.

    Used by: 001.
    """
    width, text, area = shape.width, shape.tokens, shape.patch**2
    image = rows * columns // area
    block = 4 * image * width**2 + 2 * image**2 * width
    block += 2 * image * width**2 + 2 * text * width**2 + 2 * image * text * width
    block += 8 * image * width**2
    once = (_TIME_WIDTH + width) * width + text * (shape.text_width + width) * width
    once += image * area * width * (shape.channels + shape.outputs)
    if shape.sizes:
        once += 3 * (_TIME_WIDTH + width // 3) * (width // 3)
    modulations = shape.blocks if blockwise else 1
    return 2 * (shape.blocks * block + once + modulations * 6 * width**2)


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _mlp(inputs: int, width: int) -> int:
    return _linear(inputs, width) + _linear(width, width)
