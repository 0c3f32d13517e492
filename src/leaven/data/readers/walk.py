"""What lies below a folder: files and folders that stay in it, and nothing else."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path

from leaven.errors import DataError
from leaven.plain import is_text

_PASSED_OVER = (".", "__MACOSX")
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Below:
    """What lies below a folder and is not hidden, as sorted relative paths with ``/``."""

    files: list[str]
    folders: list[str]


def below(root: Path) -> Below:
    """Lists a folder. Links are followed where they stay in it, and each folder is listed once.

    ``root`` itself may be a link.

    Raises:
        DataError: it cannot be listed; a link leads out of it; there is a pipe, a socket or a
            device in it, which would be waited for; or a name is not in UTF-8.
    """
    whole = os.path.realpath(root)
    files: list[str] = []
    folders: list[str] = []
    # Links come last, so that what a link leads to goes by its own name.
    waiting, links, seen = [("", whole)], list[tuple[str, str]](), set[str]()
    while waiting or links:
        place, real = waiting.pop() if waiting else heappop(links)
        if real in seen:
            continue
        seen.add(real)
        if place:
            folders.append(place)
        for entry in _entries(root, real):
            name = f"{place}/{entry.name}" if place else entry.name
            target = _target(entry, root / name, whole)
            if not _is_folder(entry):
                _check_file(entry, root / name)
                files.append(name)
            elif entry.is_symlink():
                heappush(links, (name, target))
            else:
                waiting.append((name, target))
    return Below(sorted(files), sorted(folders))


def _entries(root: Path, real: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(real) as found:
            entries = [entry for entry in found if not entry.name.startswith(_PASSED_OVER)]
    except OSError as error:
        raise DataError(
            f"The folder {root} cannot be listed: {error}.",
            "a folder that may be read",
            "check the path and the permissions.",
        ) from error
    wrong = [entry.name for entry in entries if not is_text(entry.name)]
    if wrong:
        shown = os.fsencode(wrong[0]).decode("utf-8", "backslashreplace")
        are = "name that is" if len(wrong) == 1 else "names that are"
        raise DataError(
            f"{real} has {len(wrong)} {are} not in UTF-8, the first is '{shown}'.",
            "names in UTF-8, under which the labels can be written down",
            "rename them, for example with: convmv -r -f latin1 -t utf8 --notest FOLDER",
        )
    return entries


def _target(entry: os.DirEntry[str], shown: Path, whole: str) -> str:
    """Where an entry really is."""
    if not entry.is_symlink():
        return entry.path
    return check_inside(shown, whole)


def check_inside(path: Path, whole: str) -> str:
    """The real place of ``path``, which is in the folder whose real place is ``whole``.

    Raises:
        DataError: a link leads out of it.
    """
    target = os.path.realpath(path)
    if target != whole and not target.startswith(whole.rstrip(os.sep) + os.sep):
        raise DataError(
            f"{path} is a link to {target}, out of the folder.",
            "files that lie in the folder",
            "copy what it points to (cp -RL), or give the folder that it points to.",
        )
    return target


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # Links in a ring.


def _check_file(entry: os.DirEntry[str], shown: Path) -> None:
    try:
        if entry.is_file():
            return
        kind = stat.S_IFMT(entry.stat().st_mode)
    except OSError:
        return  # A link to nothing: whoever opens it says so.
    raise DataError(
        f"{shown} is {_KINDS.get(kind, 'no file')}.", "files and folders alone", "remove it."
    )
