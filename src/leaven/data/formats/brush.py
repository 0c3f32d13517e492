"""The run lengths in which Label Studio keeps brush strokes."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def brush_mask(runs: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (H, W) of the bytes of ``brush_runs``: where the stroke has any opacity.

    Beside runs of one value there may be, after a 0 bit, a row of values.

    Raises:
        ValueError: they are not whole, or made for a picture of another size.
    """
    bits = np.unpackbits(np.frombuffer(bytes(runs), dtype=np.uint8))
    stream = _Bits((bits + ord("0")).astype(np.uint8).tobytes().decode("ascii"))
    count, value_bits = stream.number(32), stream.number(5) + 1
    lengths = [stream.number(4) + 1 for _ in range(len(_LENGTH_BITS))]
    if count != math.prod(size) * _CHANNELS:
        raise ValueError(f"a stroke of {count / _CHANNELS:g} pixels")
    values = np.zeros(count, dtype=bool)
    place = 0
    while place < count:
        same = stream.number(1)
        end = place + stream.number(lengths[stream.number(2)]) + 1
        if end > count:
            raise ValueError("a stroke with more pixels than it says")
        if same:
            values[place:end] = stream.number(value_bits) > 0
        else:
            values[place:end] = [stream.number(value_bits) > 0 for _ in range(end - place)]
        place = end
    return values.reshape(*size, _CHANNELS)[..., -1]


class _Bits:
    """A string of bits, read from its start."""

    def __init__(self, bits: str) -> None:
        self._bits, self._place = bits, 0

    def number(self, length: int) -> int:
        """The next bits as a number.

        Raises:
            ValueError: there are no more.
        """
        begin, self._place = self._place, self._place + length
        if self._place > len(self._bits):
            raise ValueError("a stroke that ends too early")
        return int(self._bits[begin : self._place], 2)


def _run(length: int) -> str:
    """The bits that say the length of a run, in the shortest of the sizes."""
    size = next(place for place, bits in enumerate(_LENGTH_BITS) if length <= 1 << bits)
    return f"1{size:02b}{length - 1:0{_LENGTH_BITS[size]}b}"
