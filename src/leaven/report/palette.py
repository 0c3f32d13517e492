"""Colours for classes that stay apart, also for people who see red and green alike."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.uint8]
Floats = NDArray[np.float64]

FIRST = ("0072b2", "e69f00", "009e73", "d55e00", "cc79a7", "56b4e9", "f0e442")
"""The palette of Okabe and Ito, "Color universal design", 2008, without black."""

LEVELS = np.linspace(0, 1, 9)
"""Further colours are taken from the grid of these levels of red, green and blue."""

LIGHTNESS = (35.0, 92.0)
"""Of further colours, in CIELAB: neither lost in shadows nor taken for white."""

DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
"""Linear RGB as it is seen without green or red cones. Source: Machado et al., "A physiologically-based
model for simulation of color vision deficiency", IEEE TVCG 2009, severity 1."""

TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip


@lru_cache(maxsize=8)
def palette(count: int) -> Colours:
    """``count`` colours (count, 3) uint8; the first ones are the same whatever the count.

    After the first seven each colour is the one of a grid that is farthest from all before it, where
    the distance is the least CIELAB difference for normal sight, deuteranopia and protanopia.
    """
    colours = np.array([list(bytes.fromhex(name)) for name in FIRST], dtype=np.float64) / 255
    if count > len(colours):
        grid = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), -1).reshape(-1, 3)
        lightness = seen(grid)[:, 0]
        grid = grid[(lightness >= LIGHTNESS[0]) & (lightness <= LIGHTNESS[1])]
        gap = np.min([_gap(grid, colour) for colour in colours], 0)
        more = []
        for _ in range(count - len(colours)):
            farthest = grid[gap.argmax()]
            more.append(farthest)
            gap = np.minimum(gap, _gap(grid, farthest))
        colours = np.vstack([colours, more])
    return (colours[:count] * 255).round().astype(np.uint8)


def readable_on(colour: Colours) -> tuple[int, int, int]:
    """Black or white, whichever is read better on ``colour`` (3,)."""
    luminance = (_linear(colour / 255.0) @ TO_XYZ[1]).item()
    # Contrast with white is 1.05 / (L + 0.05), with black (L + 0.05) / 0.05.
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


def seen(colours: Floats, sight: Floats | None = None) -> Floats:
    """CIELAB (n, 3) of sRGB colours (n, 3) in [0, 1], for normal sight or through a matrix."""
    linear = _linear(colours)
    if sight is not None:
        linear = (linear @ sight.T).clip(0, 1)
    # Relative to the white of the screen.
    ratio = linear @ TO_XYZ.T / TO_XYZ.sum(1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def _gap(grid: Floats, colour: Floats) -> Floats:
    """How far (n,) the grid is from a colour, for the eyes that see the least difference."""
    gaps = [
        np.linalg.norm(seen(grid, sight) - seen(colour[None], sight), axis=1)
        for sight in (None, DEUTERANOPIA, PROTANOPIA)
    ]
    return np.min(gaps, 0)


def _linear(colours: Floats) -> Floats:
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
