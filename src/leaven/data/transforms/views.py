"""The weak and the strong view of a batch."""

from __future__ import annotations

from torch import Tensor

from leaven.data.transforms.geometric import (
    check_fill,
    check_images,
    cutout,
    flip_and_shift,
)
from leaven.data.transforms.randaugment import RandAugment
from leaven.draws import Draws
from leaven.errors import ConfigError


class Weak:
    """Mirror and shift: a mirror with probability 1/2, then a crop after reflection padding.

    ``dx, dy`` are whole pixels, uniform in -padding, ..., padding. One gather does both.

    Args:
        flip: whether to mirror at all.
        padding: the largest shift in pixels, at least 0.

    Raises:
        ConfigError: a negative padding.
    """

    def __init__(self, flip: bool = True, padding: int = 4) -> None:
        if padding < 0:
            raise ConfigError(f"padding is {padding}.", "0 pixels or more", "Set padding=4.")
        self.flip, self.padding = flip, padding

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Changed copies of ``images`` (B, C, H, W) uint8, with ``draws`` per sample."""
        images = check_images(images)
        count = len(images)
        flags = draws.flags(count, probability=0.5 if self.flip else 0.0)
        dx, dy = draws.integers(count, 2, low=-self.padding, high=self.padding + 1).unbind(1)
        return flip_and_shift(images, flags, dx, dy)


class Cutout:
    """Covers a square of random side and place with grey.

    The side is uniform in [0, size] of the picture's shorter side, the centre uniform in the
    picture; the square is cut off at the edges.

    Args:
        size: the largest side as a share of the picture's shorter side, in [0, 1].
        fill: grey level in 0..255.

    Raises:
        ConfigError: a value out of its range.

    Sources: DeVries and Taylor, 2017 (arXiv:1708.04552); with a random side as in FixMatch
    (arXiv:2001.07685).
    """

    def __init__(self, size: float = 0.5, fill: int = 127) -> None:
        if not 0 <= size <= 1:
            raise ConfigError(f"size is {size}.", "a share of the side in [0, 1]", "Set size=0.5.")
        self.size, self.fill = size, check_fill(fill)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Changed copies of ``images`` (B, C, H, W) uint8, with ``draws`` per sample."""
        height, width = check_images(images).shape[2:]
        x, y, side = draws.uniform(len(images), 3).unbind(1)
        side = side * (self.size * min(height, width))
        return cutout(images, x * width, y * height, side, self.fill)


class Strong:
    """The weak view, then RandAugment, then cutout.

    Args:
        flip, padding: see ``Weak``.
        ops, magnitude: see ``RandAugment``.
        cutout: the largest side of the covered square as a share of the shorter side; see
            ``Cutout``.

    Raises:
        ConfigError: a value out of its range.

    Source: Sohn et al., FixMatch, 2020 (arXiv:2001.07685); ``magnitude=None`` is its setting.
    """

    def __init__(
        self,
        flip: bool = True,
        padding: int = 4,
        ops: int = 2,
        magnitude: int | None = 10,
        cutout: float = 0.5,
    ) -> None:
        self.weak = Weak(flip, padding)
        self.augment = RandAugment(ops, magnitude)
        self.cutout = Cutout(cutout)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Changed copies of ``images`` (B, C, H, W) uint8, C 1 or 3, with ``draws`` per sample."""
        return self.cutout(self.augment(self.weak(images, draws), draws), draws)
