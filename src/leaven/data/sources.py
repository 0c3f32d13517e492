"""Where the encoded pictures come from: files, bytes, or pictures that a library decoded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

Source: TypeAlias = "bytes | Path | Image.Image | None"
"""An encoded picture, the file it is in, a decoded picture, or None where there is none."""


class SourceList(Protocol):
    """``n`` sources; taking one may read it from a disk. A list will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Source: ...


class Sources:
    """Rows of a ``SourceList``; subsets share it.

    Args:
        items: the sources.
        rows: (n,) int64, which of ``items`` these are; all when None.
    """

    def __init__(self, items: SourceList, rows: Tensor | None = None) -> None:
        self.items, self.rows = items, rows

    def __len__(self) -> int:
        return len(self.items if self.rows is None else self.rows)

    def __getitem__(self, index: int) -> Source:
        return self.items[index if self.rows is None else int(self.rows[index])]

    def subset(self, index: Tensor) -> Sources:
        """The sources at ``index`` (int64 positions)."""
        return Sources(self.items, index if self.rows is None else self.rows[index])
