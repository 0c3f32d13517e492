"""Where things are: the layout of scenes, drawn before anything is painted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaven.data.scenes.bank import CELLS, backdrop_bank, digit_bank
from leaven.data.scenes.domains import Domain
from leaven.data.scenes.numbers import Numbers
from leaven.errors import ConfigError

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

FAR, FIRST, LAST = 10.0, 8.0, 2.0
"""Depth of the background, and the farthest and the nearest depth of an object, in metres."""
SMALLEST = 32

_TURN = np.deg2rad(25)
_CANDIDATES = 4
_CHUNK = 32
_PLACE, _LOOK, MOTION, NOISE = range(4)


@dataclass(frozen=True)
class Layout:
    """``n`` scenes of up to ``L`` objects; object ``l`` is painted over all those before it.

    Attributes:
        items: (n,) the number of each scene.
        size: the side of the pictures in pixels.
        domain: what the pictures look like.
        seed: that everything was drawn from.
        classes: (n, L) the digit 0..9, -1 where there is no object. Objects come first.
        digits: (n, L) the handwritten digit, a position in ``digit_bank``.
        centres: (n, L, 2) x, y in pixels from the top left corner.
        sides: (n, L) the height of the digit in pixels.
        angles: (n, L) radians, clockwise as seen.
        depths: (n, L) metres, falling along a row.
        fills, rims: (n, L, 3) colours 0..255 inside and at the edge of a stroke.
        photos: (n, L) the backdrop that a digit is filled from where the domain has textures.
        cuts: (n, L, 2) row and column in it.
        backdrops: (n,) the background's picture, a position in ``backdrop_bank``.
        corners: (n, 2) float, x and y in it of the scene's top left corner.
        light: (n, 6) ambient, slope x, slope y, lamp, lamp's x, lamp's y; see ``Domain``.
        deviation: (n,) of the noise.
        salt: pictures of one scene with different salts have different noise.
    """

    items: Integers
    size: int
    domain: Domain
    seed: int
    classes: Integers
    digits: Integers
    centres: Floats
    sides: Floats
    angles: Floats
    depths: Floats
    fills: Floats
    rims: Floats
    photos: Integers
    cuts: Integers
    backdrops: Integers
    corners: Floats
    light: Floats
    deviation: Floats
    salt: int = 0

    def part(self, chosen: slice) -> Layout:
        """Some of the scenes."""
        columns: dict[str, Any] = {
            name: value[chosen]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        return replace(self, **columns)

    def chunks(self) -> list[tuple[slice, Layout]]:
        """The scenes in parts that the caches hold, each with its place; at least one part."""
        starts = range(0, max(len(self.items), 1), _CHUNK)
        places = [slice(start, min(start + _CHUNK, len(self.items))) for start in starts]
        return [(place, self.part(place)) for place in places]


def reach(sides: Floats, angles: Floats) -> Floats:
    """Half the side of the upright square around each digit, with a margin for its strokes."""
    turned = np.abs(np.cos(angles)) + np.abs(np.sin(angles))
    return (sides * turned * ((CELLS - 1) / (CELLS - 2) / 2)).astype(np.float32)


def draw_layout(
    first: int, count: int, seed: int, size: int, objects: tuple[int, int], domain: Domain
) -> Layout:
    """The layouts of the scenes ``first``, ..., ``first + count - 1``.

    Raises:
        ConfigError: a negative count, a size below ``SMALLEST``, or numbers of objects that are
            not 0 <= fewest <= most <= 250.
    """
    _check(first, count, size, objects)
    items = np.arange(first, first + count, dtype=np.int64)
    place = Numbers(seed, items, _PLACE)
    fewest, most = objects
    number = fewest + place.integers(high=most - fewest + 1)
    present = np.arange(most) < number[:, None]
    classes = place.integers(most, high=10)
    bank = digit_bank(size)
    digits = bank.order[bank.starts[classes] + place.integers(most, high=bank.counts[classes])]
    # One draw in each of as many steps as there are objects: strictly nearer, never the same.
    step = np.arange(most) + place.uniform(most, low=0.1, high=0.9)
    nearness = np.minimum(step / np.maximum(number, 1)[:, None], 1)
    depths = 1 / (1 / FIRST + nearness * (1 / LAST - 1 / FIRST))
    larger = place.uniform(most, low=0.9, high=1.1)
    sides = (size * (0.24 + 0.2 * nearness) * larger).astype(np.float32)
    angles = place.uniform(most, low=-_TURN, high=_TURN).astype(np.float32)
    centres = _placed(place.uniform(_CANDIDATES, most, 2), size, reach(sides, angles), sides)
    return Layout(
        items,
        size,
        domain,
        seed,
        np.where(present, classes, -1),
        digits,
        centres.astype(np.float32),
        sides,
        angles,
        depths.astype(np.float32),
        **_looks(Numbers(seed, items, _LOOK), size, most, domain),
    )


def _looks(look: Numbers, size: int, most: int, domain: Domain) -> dict[str, Any]:
    """Colours, backgrounds and light."""
    hue = look.uniform(most)
    bright = _colours(hue, 0.75, look.uniform(most, low=0.9, high=1.0))
    dark = _colours(look.uniform(most), 0.5, look.uniform(most, low=0.05, high=0.2))
    swapped = look.uniform(most, 1) < 0.15
    bank = backdrop_bank(size, domain.texture)
    backdrops = look.integers(high=len(bank.starts))
    shape = np.stack([bank.widths, bank.heights], 1)[backdrops]
    corners = look.integers(2, high=shape - size + 1)
    surfaces = backdrop_bank(size, False)
    photos = look.integers(most, high=len(surfaces.starts))
    cuts = look.integers(most, 2, high=2**31)
    light = look.uniform(6)
    light[:, 0] = _between(light[:, 0], domain.ambient)
    light[:, 1:3] = (light[:, 1:3] * 2 - 1) * domain.slope
    light[:, 3] = _between(light[:, 3], domain.lamp)
    light[:, 4:] = light[:, 4:] * 2 - 1
    return {
        "fills": np.where(swapped, dark, bright).astype(np.float32),
        "rims": np.where(swapped, bright, dark).astype(np.float32),
        "photos": photos,
        "cuts": cuts,
        "backdrops": backdrops,
        "corners": corners.astype(np.float32),
        "light": light.astype(np.float32),
        "deviation": _between(look.uniform(), domain.noise).astype(np.float32),
    }


def _between(draw: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.float64]:
    return bounds[0] + draw * (bounds[1] - bounds[0])


def _placed(
    draws: NDArray[np.float64], size: int, half: Floats, sides: Floats
) -> NDArray[np.float64]:
    """Centres (n, L, 2): of a few candidates the one farthest from the objects before it.

    Distances are in units of the mean side of the two. Source: D. P. Mitchell, Spectrally optimal
    sampling for distribution ray tracing, 1991.
    """
    half = half[..., None].astype(np.float64)
    candidates = half[:, None] + draws * (size - 2 * half[:, None])
    centres = candidates[:, 0].copy()
    rows = np.arange(len(centres))
    for number in range(1, centres.shape[1]):
        apart = candidates[:, :, number, None] - centres[:, None, :number]
        mean = (sides[:, :number] + sides[:, number, None]) / 2
        distance = (np.linalg.norm(apart, axis=3) / mean[:, None]).min(2)
        centres[:, number] = candidates[rows, distance.argmax(1), number]
    return centres


def _colours(
    hue: NDArray[np.float64], saturation: float, value: NDArray[np.float64]
) -> NDArray[np.float64]:
    """RGB 0..255 of hue, saturation and value in [0, 1]."""
    sector = (np.array([5.0, 3.0, 1.0]) + hue[..., None] * 6) % 6
    fall = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return 255 * value[..., None] * (1 - saturation * fall)


def _check(first: int, count: int, size: int, objects: tuple[int, int]) -> None:
    if count < 0 or first < 0:
        raise ConfigError(
            f"{count} scenes from number {first} on are wanted.",
            "a number of scenes and a first number that are not negative",
            "correct the numbers.",
        )
    if size < SMALLEST:
        raise ConfigError(
            f"Scenes of {size} x {size} pixels are wanted.",
            f"a side of at least {SMALLEST} pixels, in which digits can be read",
            "ask for larger scenes; 96 is usual.",
        )
    if len(objects) != 2 or not 0 <= objects[0] <= objects[1] <= 250:
        raise ConfigError(
            f"The number of objects is {objects}.",
            "the fewest and the most, 0 <= fewest <= most <= 250",
            "give two numbers, as in objects=(1, 5).",
        )
