"""Takes back what a failed step did to the buffers of models and parts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class BufferGuard:
    """A copy of all floating-point buffers, refreshed before every step.

    A forward pass on bad numbers spoils batch statistics and running means before any loss is
    seen; ``take_back`` puts them where they were.
    """

    def __init__(self, parts: Iterable[object]) -> None:
        self._live: list[Tensor] = [
            buffer
            for part in parts
            if isinstance(part, nn.Module)
            for buffer in part.buffers()
            if buffer.is_floating_point() and buffer.numel()
        ]
        self._saved = [buffer.detach().clone() for buffer in self._live]

    def remember(self) -> None:
        """Copies the buffers as they are."""
        if self._live:
            torch._foreach_copy_(self._saved, self._live)

    def take_back(self) -> None:
        """Puts the buffers back to where they were at the last ``remember``."""
        if self._live:
            torch._foreach_copy_(self._live, self._saved)
