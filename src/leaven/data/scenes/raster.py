"""From poses to pixels: which object is seen where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leaven.data.scenes.bank import CELLS, Digits, digit_bank
from leaven.data.scenes.layout import Floats, Integers, Layout, reach

THRESHOLD = 115
"""Ink from which a pixel belongs to the digit: 0.45 of full ink."""


@dataclass(frozen=True)
class Raster:
    """The visible surfaces of ``n`` pictures of ``L`` possible objects.

    Attributes:
        instances: (n, S, S) uint8, 0 for the background, ``l + 1`` for object ``l``.
        classes: (n, S, S) uint8, 0 for the background, 1 + digit.
        boxes: (n, L, 4) float32, tight around the visible pixels; zeros where there are none.
        amodal_boxes: (n, L, 4) float32, tight around all pixels of the object in the picture.
        visible: (n, L) int64, visible pixels.
        whole: (n, L) int64, pixels of the object, also those outside the picture.
        amodal: (n, L, S, S) bool, the objects without what covers them, or None.
        where: (k,) positions in ``instances`` of the visible pixels of objects.
        owner: (k,) the object of each, a position in (n, L) flattened.
        ink: (k,) uint8.
        spot: (k,) the place of each in ``Digits.ink``.
    """

    instances: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    boxes: Floats
    amodal_boxes: Floats
    visible: Integers
    whole: Integers
    amodal: NDArray[np.bool_] | None
    where: Integers
    owner: Integers
    ink: NDArray[np.uint8]
    spot: NDArray[np.int32]


def rasterize(layout: Layout, amodal: bool = False) -> Raster:
    """Finds what the objects of ``layout`` cover, the far ones first.

    A pixel belongs to an object when the digit's ink at its centre, moved into the digit's frame,
    is at least ``THRESHOLD``; it shows the last such object.

    Args:
        layout: n scenes.
        amodal: whether the whole masks are wanted.
    """
    bank = digit_bank(layout.size)
    count, most = layout.classes.shape
    size = layout.size
    # Objects in the order of painting, so that those of one layer are neighbours.
    layers, scenes = np.nonzero(layout.classes.T >= 0)
    owner = scenes * most + layers
    index, corner = _windows(layout, bank, scenes, layers)
    ink = bank.ink[index]
    mask = ink >= THRESHOLD
    window = mask.shape[1]
    whole = np.zeros(count * most, np.int64)
    whole[owner] = np.count_nonzero(mask.reshape(len(mask), window * window), axis=1)
    _cut_off(mask, corner, size)
    thing, place = np.nonzero(mask.reshape(len(mask), window * window))
    rows, columns = np.divmod(np.arange(window * window), window)
    base = scenes * size * size + corner[:, 1] * size + corner[:, 0]
    where = base[thing] + (rows * size + columns)[place]
    instances = np.zeros(count * size * size, np.uint8)
    bounds = np.searchsorted(layers[thing], np.arange(most + 1)) if most else np.zeros(1, np.int64)
    for layer in range(most):
        instances[where[bounds[layer] : bounds[layer + 1]]] = layer + 1
    shown = instances[where] == (layers + 1).astype(np.uint8)[thing]
    hidden = np.flatnonzero(~shown)
    flat = thing * (window * window) + place
    amodal_boxes = _boxes(mask, corner)
    masks = _spread(owner[thing], where, layout) if amodal else None
    mask.ravel()[flat[hidden]] = False
    thing, where, flat = thing[shown], where[shown], flat[shown]
    classes = np.zeros(count * size * size, np.uint8)
    classes[where] = (layout.classes.ravel()[owner] + 1).astype(np.uint8)[thing]
    return Raster(
        instances.reshape(count, size, size),
        classes.reshape(count, size, size),
        _table(_boxes(mask, corner), owner, count, most),
        _table(amodal_boxes, owner, count, most),
        np.bincount(owner[thing], minlength=count * most).reshape(count, most),
        whole.reshape(count, most),
        masks,
        where,
        owner[thing],
        ink.ravel()[flat],
        index.ravel()[flat],
    )


def _windows(
    layout: Layout, bank: Digits, scenes: Integers, layers: Integers
) -> tuple[NDArray[np.int32], Integers]:
    """Of m objects the bank positions (m, P, P) in a window, and its x, y (m, 2) in the picture."""
    centre, angle = layout.centres[scenes, layers], layout.angles[scenes, layers]
    side, digit = layout.sides[scenes, layers], layout.digits[scenes, layers]
    half = reach(side, angle)
    window = int(np.ceil(2 * half.max())) + 2 if len(half) else 1
    corner = np.floor(centre - window / 2).astype(np.int64)
    scale = bank.side * (CELLS - 2) / CELLS
    cosine, sine = np.cos(angle) * (scale / side), np.sin(angle) * (scale / side)
    # Pixel centres, measured from the digit's centre.
    along = np.arange(window, dtype=np.float32) + np.float32(0.5)
    x = along + (corner[:, :1] - centre[:, :1]).astype(np.float32)
    y = along + (corner[:, 1:] - centre[:, 1:]).astype(np.float32)
    middle = np.float32(bank.side / 2)
    column = _fine(cosine, x, sine, y, middle, bank.side)
    row = _fine(-sine, x, cosine, y, middle, bank.side)
    row *= np.int32(bank.side)
    row += column
    row += (digit * (bank.side * bank.side)).astype(np.int32)[:, None, None]
    return row, corner


def _fine(
    by_x: Floats, x: Floats, by_y: Floats, y: Floats, middle: np.float32, side: int
) -> NDArray[np.int32]:
    """(m, P, P) floor(by_x x + by_y y + middle), kept in the frame, whose rim is empty."""
    start = by_y[:, None] * y + middle
    found = start[:, :, None] + (by_x[:, None] * x)[:, None, :]
    np.clip(found, 0, side - 1, out=found)
    return found.astype(np.int32)


def _cut_off(mask: NDArray[np.bool_], corner: Integers, size: int) -> None:
    """Clears, in place, what lies outside the picture."""
    along = np.arange(mask.shape[1])
    for axis, shape in ((0, (-1, 1, mask.shape[1])), (1, (-1, mask.shape[1], 1))):
        place = along + corner[:, axis, None]
        inside = (place >= 0) & (place < size)
        if not inside.all():
            mask &= inside.reshape(shape)


def _boxes(mask: NDArray[np.bool_], corner: Integers) -> Floats:
    """(m, 4) tight boxes in the picture of masks (m, P, P) in windows; zeros for empty ones."""
    boxes = np.zeros((len(mask), 4), np.float32)
    for axis in (0, 1):
        used = np.logical_or.reduce(mask, axis=1 + axis)
        boxes[:, axis] = used.argmax(1) + corner[:, axis]
        boxes[:, 2 + axis] = mask.shape[1] - used[:, ::-1].argmax(1) + corner[:, axis]
    boxes[~used.any(1)] = 0
    return boxes


def _table(rows: Floats, owner: Integers, count: int, most: int) -> Floats:
    table = np.zeros((count * most, 4), np.float32)
    table[owner] = rows
    return table.reshape(count, most, 4)


def _spread(owner: Integers, where: Integers, layout: Layout) -> NDArray[np.bool_]:
    count, most = layout.classes.shape
    area = layout.size * layout.size
    masks = np.zeros(count * most * area, bool)
    masks[owner * area + where % area] = True
    return masks.reshape(count, most, layout.size, layout.size)
