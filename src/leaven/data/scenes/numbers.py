"""Random numbers that depend on the seed and the scene's number alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


class Numbers:
    """A row of draws for each item, the same whatever the items beside it.

    Draw ``j`` of item ``i`` is ``h(h(h(seed) + stream) + i) + j)`` with ``h`` the output function
    of SplitMix64 at ``x + 0x9E3779B97F4A7C15``: a table of numbers that is read, not a state that
    is carried, so a chunk of items needs nothing of those before it.

    Args:
        seed: equal seeds give equal numbers.
        items: (n,) integers.
        stream: numbers of different streams are independent.

    Source: G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, 2014.
    """

    def __init__(self, seed: int, items: NDArray[np.int64], stream: int) -> None:
        key = _mixed(np.array([seed % 2**64], np.uint64))
        key = _mixed(key + np.uint64(stream))
        self._key = _mixed(key + items.astype(np.uint64))
        self._taken = 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """(n, *shape) in [low, high)."""
        count = int(np.prod(shape))
        place = np.arange(self._taken, self._taken + count, dtype=np.uint64)
        self._taken += count
        bits = _mixed(self._key[:, None] + place * _STEP) >> np.uint64(11)
        drawn = bits.astype(np.float64) * 2.0**-53
        return (drawn * (high - low) + low).reshape(len(self._key), *shape)

    def integers(self, *shape: int, high: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, *shape) in 0, ..., high - 1, where ``high`` is a number or one for each draw."""
        return np.floor(self.uniform(*shape) * high).astype(np.int64)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + _STEP
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
