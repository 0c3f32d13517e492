"""COCO's compressed run lengths, checked before ``pycocotools`` reads them.

It does not look where they end: runs that are too short leave memory as it was, others are refused
late.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LONGEST_NUMBER = 7
"""Letters of a number: 5 bits each, and the runs have 32."""

MOST_PIXELS = 178_956_970
"""Of a picture: what Pillow decodes at most."""


def lengths_of(letters: bytes) -> list[int]:
    """The run lengths in COCO's letters: base 32, low digits first, from the fourth on as the
    difference from the run but one before.

    Raises:
        ValueError: damaged letters.
    """
    codes = np.frombuffer(letters, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 32) == 0)
    lengths = np.diff(ends, prepend=-1)
    whole = len(codes) > 0 and len(ends) > 0 and ends[-1] == len(codes) - 1
    if not whole or codes.min() < 0 or codes.max() > 63 or lengths.max() > LONGEST_NUMBER:
        raise ValueError("damaged compressed run lengths")
    place = np.arange(len(codes)) - np.repeat(ends - lengths + 1, lengths)
    digits = (codes & 31) << (5 * place)
    values = np.add.reduceat(digits, ends - lengths + 1)
    values = values - np.where(codes[ends] & 16, 1 << (5 * lengths), 0)
    # Runs 1, 3, 5, ... and 2, 4, 6, ... each add up; run 0 stands alone, run 2 begins its chain.
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    found: list[int] = values.tolist()
    return found


def check_lengths(lengths: Sequence[int], size: Sequence[int]) -> None:
    """Whether run lengths fill a picture of height and width ``size``.

    Raises:
        ValueError: one is below zero, or they are of more or fewer pixels.
    """
    height, width = size
    if min(lengths, default=0) < 0:
        raise ValueError("a run length below zero")
    if sum(lengths) != height * width:
        raise ValueError(f"run lengths of {sum(lengths)} pixels in all")


def checked_run(mask: object, size: tuple[int, int] | None = None) -> dict[str, object]:
    """A stored mask ``{"size": [h, w], "counts": "..."}`` as ``pycocotools`` takes it.

    Args:
        mask: from a table.
        size: of its picture, where that is known.

    Raises:
        ValueError: it is something else, of another size, or its runs do not fill it.
    """
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
        raise ValueError("a mask without run lengths")
    own = check_size(mask.get("size"))
    if size is not None and own != size:
        raise ValueError(f"a mask of the size {own} in a picture of {size}")
    letters = mask["counts"].encode("ascii", "replace")
    check_lengths(lengths_of(letters), own)
    return {"size": list(own), "counts": letters}


def check_size(size: object) -> tuple[int, int]:
    """Height and width of a picture that can be.

    Raises:
        ValueError: something else, or more pixels than any picture has.
    """
    sides = list(size) if isinstance(size, list | tuple) else []
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError("a picture without height and width")
    if sides[0] * sides[1] > MOST_PIXELS:
        raise ValueError(f"a picture of {sides[0]}x{sides[1]} pixels")
    return sides[0], sides[1]
