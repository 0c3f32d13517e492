"""The outline of a mask as one polygon that fills to exactly that mask again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def outline(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """One closed polygon (v, 2) of x, y along the edges of the pixels of a mask (H, W).

    Parts and holes are joined by seams of no width that are walked twice, so that they cancel
    where a filler counts crossings. ``pycocotools`` fills it to the same mask; fillers that count
    the pixels under the line itself (OpenCV's) give masks that are a pixel wider to the right and
    below. An empty mask has no corners.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros((0, 2), dtype=np.int64)
    left, top = columns[0], rows[0]
    inner = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    return _joined(_loops(inner)) + np.array([left, top])


def _joined(loops: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The loops one after the other, with seams between them."""
    closed = [np.concatenate([loop, loop[:1]]) for loop in loops]
    if len(closed) == 1:
        return loops[0]
    # There along the first corners of the loops, and back the same way.
    back = np.stack([loop[0] for loop in closed[-2::-1]])
    return np.concatenate([*closed, back])


def _loops(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The boundary as closed loops of corners, each (v, 2) of x, y.

    Every corner ends one horizontal and one vertical edge. In a row of corners the first and the
    second are joined, then the third and the fourth; in a column alike. A corner where two pixels
    touch by their tips counts twice.
    """
    padded = np.pad(mask.astype(np.int8), 1)
    # Pixels above left, above right, below left and below right of each corner.
    a, b = padded[:-1, :-1], padded[:-1, 1:]
    c, d = padded[1:, :-1], padded[1:, 1:]
    turns = ((a + b + c + d) % 2).astype(np.int8) + 2 * ((a == d) & (b == c) & (a != b))
    y, x = np.nonzero(turns)
    times = turns[y, x]
    y, x = np.repeat(y, times), np.repeat(x, times)
    along_row = _mates(np.arange(len(x)))
    along_column = _mates(np.lexsort((y, x)))
    corners = np.stack([x, y], 1).astype(np.int64)
    return [corners[loop] for loop in _cycles(along_row.tolist(), along_column.tolist())]


def _mates(order: NDArray[np.integer]) -> NDArray[np.int64]:
    """For each corner the one it is joined with, when those of ``order`` are joined in pairs."""
    mates = np.empty(len(order), dtype=np.int64)
    mates[order[0::2]], mates[order[1::2]] = order[1::2], order[0::2]
    return mates


def _cycles(along_row: list[int], along_column: list[int]) -> list[list[int]]:
    """The corners in the order in which the edges, by turns along a row and a column, lead."""
    seen = [False] * len(along_row)
    cycles = []
    for start in range(len(along_row)):
        if seen[start]:
            continue
        cycle, corner = [], start
        while not seen[corner]:
            other = along_row[corner]
            seen[corner] = seen[other] = True
            cycle += [corner, other]
            corner = along_column[other]
        cycles.append(cycle)
    return cycles
