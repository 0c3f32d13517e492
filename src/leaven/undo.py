"""Large buffers that are written a few rows at a time, and can go back to where a step began."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

Rows = list[tuple[Tensor, Tensor]]
"""Which rows were written, and what was in them before; one write after the other."""


class RowBuffers(nn.Module):
    """A module with a memory, of which a step writes some rows.

    Once ``remember`` was called, each write first keeps what it writes over; ``take_back`` puts that
    back. So a step costs a copy of the rows that it writes and not one of the whole memory. Where
    more rows are written than there are, the whole is kept in their place.

    Attributes:
        by_rows: the names of the buffers that ``write`` alone changes.

    Used by: the queues and memories of all methods; see ``train.guard``.
    """

    by_rows: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, Rows | Tensor] | None = None

    @torch.no_grad()
    def write(self, name: str, rows: Tensor, values: Tensor | float) -> None:
        """``buffer[rows] = values``.

        Args:
            name: one of ``by_rows``.
            rows: (m,) int64; it is not changed afterwards.
            values: (m, ...), or one number.
        """
        buffer = self.get_buffer(name)
        if self._before is not None:
            self._before[name] = _kept(buffer, self._before[name], rows)
        buffer[rows] = values

    def remember(self) -> None:
        """A step begins here."""
        self._before = {name: [] for name in self.by_rows}

    def take_back(self) -> None:
        """Puts the buffers back to where they were at the last ``remember``."""
        for name, before in (self._before or {}).items():
            _put_back(self.get_buffer(name), before)
        self.remember()


def _kept(buffer: Tensor, before: Rows | Tensor, rows: Tensor) -> Rows | Tensor:
    """``before``, and what is in ``rows`` now."""
    if isinstance(before, Tensor):
        return before
    if sum(len(written) for written, _ in before) + len(rows) <= len(buffer):
        return [*before, (rows, buffer[rows])]
    whole = buffer.clone()
    _put_back(whole, before)
    return whole


def _put_back(buffer: Tensor, before: Rows | Tensor) -> None:
    if isinstance(before, Tensor):
        buffer.copy_(before)
        return
    for rows, values in reversed(before):
        buffer[rows] = values
