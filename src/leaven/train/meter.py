"""Running means of what a loop observes, kept on the device until they are written."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from leaven.train.budget import Budget

_LINES = 200
"""About how many lines a loop writes to its metrics."""


class Meter:
    """Means of named scalars since the last ``flush``; values that are not finite are left out."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}
        self._last: tuple[tuple[str, ...], Tensor] | None = None
        self._images = 0
        self._since = time.monotonic()

    def start(self) -> None:
        """Forgets everything and starts the clock."""
        self._sums.clear()
        self._last = None
        self._images, self._since = 0, time.monotonic()

    def count(self, images: int) -> None:
        """Takes note of ``images`` pictures that went through."""
        self._images += images

    def add(self, values: dict[str, Tensor]) -> None:
        """Adds one observation of 0-d tensors on one device."""
        if not values:
            return
        names = tuple(values)
        row = torch.stack([value.detach().float() for value in values.values()])
        finite = torch.isfinite(row)
        clean = torch.where(finite, row, 0.0)
        if names in self._sums:
            sums, counts = self._sums[names]
            sums += clean
            counts += finite
        else:
            self._sums[names] = (clean, finite.float())
        self._last = (names, finite)

    def not_finite(self) -> list[str]:
        """The names whose last value was not finite."""
        if self._last is None:
            return []
        names, finite = self._last
        return [name for name, good in zip(names, finite.tolist(), strict=True) if not good]

    @staticmethod
    def due(step: int, budget: Budget) -> bool:
        """Whether a line is due after ``step`` steps of a loop with this budget."""
        every = 10 if budget.steps is None else max(1, budget.steps // _LINES)
        return step % every == 0

    def flush(self) -> tuple[dict[str, float], float]:
        """The means by name and the pictures per second; starts anew."""
        values: dict[str, float] = {}
        for names, (sums, counts) in self._sums.items():
            for name, total, count in zip(names, sums.tolist(), counts.tolist(), strict=True):
                if count:
                    values[name] = total / count
        rate = self._images / max(1e-9, time.monotonic() - self._since)
        self.start()
        return values, rate
