"""The run lengths in which Label Studio keeps brush strokes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CHANNELS = 4
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST = 1 << _LENGTH_BITS[-1]


def brush_runs(mask: NDArray[np.bool_]) -> list[int]:
    """A mask (H, W) as the bytes that Label Studio calls ``rle``.

    They hold the picture of the stroke as rows of red, green, blue and opacity, 255 or 0, as a
    string of bits: the count of values in 32 bits, the bits of a value less one in 5, four sizes
    of lengths less one in 4 bits each; then for each run a 1, which of the sizes its length has in
    2 bits, the length less one, and the value in 8 bits; zeros up to a whole byte.
    """
    flat = mask.astype(bool).ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1])) if flat.size else np.zeros(0, int)
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    bits = [f"{flat.size * _CHANNELS:032b}{_VALUE_BITS - 1:05b}"]
    bits += [f"{size - 1:04b}" for size in _LENGTH_BITS]
    for length, start in zip(lengths.tolist(), starts.tolist(), strict=True):
        value = f"{255 if flat[start] else 0:0{_VALUE_BITS}b}"
        bits += [_run(_LONGEST) + value] * ((length - 1) // _LONGEST)
        bits.append(_run((length - 1) % _LONGEST + 1) + value)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _run(length: int) -> str:
    """The bits that say the length of a run, in the shortest of the sizes."""
    size = next(place for place, bits in enumerate(_LENGTH_BITS) if length <= 1 << bits)
    return f"1{size:02b}{length - 1:0{_LENGTH_BITS[size]}b}"
