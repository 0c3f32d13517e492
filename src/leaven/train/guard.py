"""Takes back what a failed step did to the buffers of models and parts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from leaven.train.averaging import EMA
from leaven.undo import RowBuffers


class BufferGuard:
    """A copy of all buffers of fractions and of all counters, refreshed before every step.

    A forward pass on bad numbers spoils batch statistics and running means before any loss is
    seen; ``take_back`` puts them where they were. The large buffers of ``RowBuffers`` are not copied:
    they keep the rows that a step writes over themselves. Buffers of whole numbers are copied where
    they are a single one.
    """

    def __init__(self, parts: Iterable[object]) -> None:
        modules = [module for module in map(_module, parts) if module is not None]
        found = {id(inner): inner for module in modules for inner in module.modules()}
        self._memories = [inner for inner in found.values() if isinstance(inner, RowBuffers)]
        large = {id(memory.get_buffer(n)) for memory in self._memories for n in memory.by_rows}
        live = {id(buffer): buffer for module in modules for buffer in module.buffers()}
        self._live: list[Tensor] = [
            buffer for key, buffer in live.items() if key not in large and _guarded(buffer)
        ]
        self._saved = [buffer.detach().clone() for buffer in self._live]

    def remember(self) -> None:
        """A step begins: copies the buffers as they are."""
        if self._live:
            torch._foreach_copy_(self._saved, self._live)
        for memory in self._memories:
            memory.remember()

    def take_back(self) -> None:
        """Puts the buffers back to where they were at the last ``remember``."""
        if self._live:
            torch._foreach_copy_(self._live, self._saved)
        for memory in self._memories:
            memory.take_back()


def _module(part: object) -> nn.Module | None:
    """The module whose passes may move buffers, if there is one.

    The passes of most averaged networks are in eval mode: a copy of their buffers would be for
    nothing.
    """
    if isinstance(part, EMA) and (part.own_buffers or part.module.training):
        return part.module
    return part if isinstance(part, nn.Module) else None


def _guarded(buffer: Tensor) -> bool:
    return buffer.numel() > 0 and (buffer.is_floating_point() or buffer.dim() == 0)
