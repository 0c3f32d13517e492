"""Archives are not unpacked; here is what people are told who give one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from leaven.errors import DataError

ENDINGS = frozenset(
    {".7z", ".bz2", ".gz", ".rar", ".tar", ".tbz2", ".tgz", ".txz", ".xz", ".zip", ".zst"}
)
"""The file name endings that count as archives, in lower case."""


def is_archive(name: str) -> bool:
    """Whether a file of that name counts as an archive."""
    return PurePosixPath(name).suffix.lower() in ENDINGS


def unpack(names: Iterable[str]) -> str:
    """What to do where one of the files ``names`` is an archive; nothing where none is."""
    found = next((name for name in names if is_archive(name)), None)
    if found is None:
        return ""
    return f"unpack {found} yourself, where you trust it, and give the folder."


def refuse_archive(path: Path, expected: str) -> None:
    """Refuses a file that is an archive by its name.

    Raises:
        DataError: it is one.
    """
    if is_archive(path.name):
        raise DataError(
            f"{path} is an archive, and leaven unpacks none.", expected, unpack([path.name])
        )
