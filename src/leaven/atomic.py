"""Files that are whole or not there: written beside their place and moved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".partial"
"""The suffix of a file that is being written; readers pass over it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and move it to ``path`` when the block ends.

    The content is flushed to the disk before the move, so that after a crash ``path`` is the old
    whole file or the new whole file. When the block raises, the partial file is removed.

    Raises:
        OSError: as the system says (no space, no permission); ``path`` is untouched then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
