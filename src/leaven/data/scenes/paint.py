"""From visible surfaces to pictures: colours, background, light and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leaven.data.scenes.bank import NOISE_UNIT, Backdrops, backdrop_bank, digit_bank, noise_bank
from leaven.data.scenes.layout import NOISE, Floats, Integers, Layout
from leaven.data.scenes.numbers import Numbers
from leaven.data.scenes.raster import THRESHOLD, Raster

_LAMP_WIDTH = 0.5
# Ink above the threshold at which the rim ends: at three quarters of full ink.
_RIM = 76


def paint(layout: Layout, raster: Raster, seen_from: Floats | None = None) -> NDArray[np.uint8]:
    """(n, 3, S, S) uint8, the pictures of the surfaces in ``raster``.

    Args:
        layout: n scenes.
        raster: of the same scenes.
        seen_from: (n, S, S) pixels to the right at which the light of each pixel is found, where
            the light belongs to another view.
    """
    canvas = _background(layout)
    canvas.reshape(-1)[raster.where] = _strokes(layout, raster)
    light = _light(layout, seen_from)
    size = layout.size
    channels = canvas.view(np.uint8).reshape(len(canvas), size, size, 4)
    noise, strength = _noise(layout)
    pictures = np.empty((len(canvas), 3, size, size), np.uint8)
    for channel, tint in enumerate(layout.domain.tint):
        value = channels[..., channel].astype(np.float32)
        value *= light
        if tint != 1:
            value *= np.float32(tint)
        value += noise[:, channel] * strength
        # Truncation after half a level is rounding.
        value += np.float32(0.5)
        np.clip(value, 0, 255, out=value)
        pictures[:, channel] = value
    return pictures


def _background(layout: Layout) -> NDArray[np.uint32]:
    """(n, S, S) packed colours of the backgrounds, bilinear between pixels."""
    bank = backdrop_bank(layout.size, layout.domain.texture)
    whole = np.floor(layout.corners)
    part = layout.corners - whole
    if not part.any():
        return _cut(bank, layout.backdrops, whole.astype(np.int64), layout.size)
    cut = _cut(bank, layout.backdrops, whole.astype(np.int64), layout.size + 1)
    shape = (len(cut), layout.size + 1, layout.size + 1, 4)
    values = cut.view(np.uint8).reshape(shape).astype(np.float32)
    right, down = part[:, 0, None, None, None], part[:, 1, None, None, None]
    values = values[:, :, :-1] * (1 - right) + values[:, :, 1:] * right
    values = values[:, :-1] * (1 - down) + values[:, 1:] * down
    return np.rint(values).astype(np.uint8).view(np.uint32)[..., 0]


def _cut(bank: Backdrops, pictures: Integers, corner: Integers, side: int) -> NDArray[np.uint32]:
    """(n, side, side) cuttings whose top left pixel is at ``corner`` (n, 2) x, y.

    A picture goes on beyond its edges as its reflection.
    """
    along = np.arange(side)
    width = bank.widths[pictures]
    columns = _reflected(corner[:, :1] + along, width)
    rows = _reflected(corner[:, 1:] + along, bank.heights[pictures])
    rows = rows * width[:, None] + bank.starts[pictures, None]
    return np.take(bank.pixels, rows[:, :, None] + columns[:, None, :])


def _reflected(place: Integers, length: Integers) -> Integers:
    """Places (n, k) brought into 0, ..., length - 1 by reflection that repeats the edge."""
    period = 2 * length[:, None]
    place = place % period
    return np.minimum(place, period - 1 - place)


def _strokes(layout: Layout, raster: Raster) -> NDArray[np.uint32]:
    """(k,) packed colours: from the rim's to the fill's with growing ink."""
    level = np.minimum(raster.ink - np.uint8(THRESHOLD), np.uint8(_RIM))
    if layout.domain.texture:
        inside = _woven(layout, raster)
        rims = layout.rims.reshape(-1, 3)[raster.owner]
        share = level[:, None].astype(np.float32) / np.float32(_RIM)
        return _packed(rims + (inside - rims) * share)
    # All colours there can be are few: a table is read faster than they are mixed.
    share = np.arange(_RIM + 1, dtype=np.float32)[:, None] / np.float32(_RIM)
    rims, fills = layout.rims.reshape(-1, 1, 3), layout.fills.reshape(-1, 1, 3)
    return _packed(rims + (fills - rims) * share).ravel()[raster.owner * (_RIM + 1) + level]


def _packed(colours: Floats) -> NDArray[np.uint32]:
    """Colours (..., 3) in 0..255, rounded, as red, green, blue and a spare byte."""
    bytes_ = np.zeros((*colours.shape[:-1], 4), np.uint8)
    bytes_[..., :3] = colours + np.float32(0.5)
    return bytes_.view(np.uint32)[..., 0]


def _woven(layout: Layout, raster: Raster) -> Floats:
    """(k, 3) colours of photos that stick to the digits, drawn half way to the fill."""
    photos, side = backdrop_bank(layout.size, False), digit_bank(layout.size).side
    picture = layout.photos.reshape(-1)[raster.owner]
    cut = layout.cuts.reshape(-1, 2)[raster.owner]
    row, column = np.divmod(raster.spot % (side * side), side)
    row = (row + cut[:, 0]) % photos.heights[picture]
    column = (column + cut[:, 1]) % photos.widths[picture]
    found = photos.pixels[photos.starts[picture] + row * photos.widths[picture] + column]
    colours = found.view(np.uint8).reshape(-1, 4)[:, :3].astype(np.float32)
    return (colours + layout.fills.reshape(-1, 3)[raster.owner]) / 2


def _light(layout: Layout, seen_from: Floats | None) -> Floats:
    """(n, S, S) or (n, 1 or S, ...) factors of the colours; see ``Domain``."""
    half = np.float32(layout.size / 2)
    along = (np.arange(layout.size, dtype=np.float32) + np.float32(0.5)) / half - 1
    x, y = along[None, None, :], along[None, :, None]
    if seen_from is not None:
        x = x + seen_from / half
    ambient, right, down, lamp, lamp_x, lamp_y = layout.light.T[:, :, None, None]
    light = right * x + (ambient + down * y)
    if layout.domain.lamp[1] > 0:
        narrow = np.float32(-0.5 / _LAMP_WIDTH**2)
        light += (lamp * np.exp(narrow * (y - lamp_y) ** 2)) * np.exp(narrow * (x - lamp_x) ** 2)
    return np.maximum(light, 0)


def _noise(layout: Layout) -> tuple[NDArray[np.int8], Floats]:
    """Windows (n, 3, S, S) of the noise, and what to multiply them by."""
    bank, size = noise_bank(), layout.size
    area = size * size
    bank = bank if len(bank) >= 2 * area else np.resize(bank, 2 * area)
    draws = Numbers(layout.seed, layout.items, NOISE + layout.salt)
    start = draws.integers(3, high=len(bank) - area + 1)
    windows = np.lib.stride_tricks.sliding_window_view(bank, area)[start]
    strength = (layout.deviation / NOISE_UNIT)[:, None, None].astype(np.float32)
    return windows.reshape(len(start), 3, size, size), strength
