"""Places to write to, checked before anything is computed; nothing is changed by it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from leaven.errors import RunError


def check_folder(
    folder: Path, what: str, mine: Sequence[str], option: str = "--out", *, own: bool = False
) -> None:
    """Whether ``folder`` can be written to, and is new, empty or an earlier one of the same kind.

    Args:
        folder: where files are to go.
        what: what they are, in a word or two.
        mine: the names of files of which an earlier one has one.
        option: what it was given by.
        own: whatever is in it is of the same kind.

    Raises:
        RunError: it holds something else, is a file, or cannot be written.
    """
    check_place(folder, f"a folder for the {what}", option)
    if own or not folder.is_dir() or any((folder / name).is_file() for name in mine):
        return
    if any(folder.iterdir()):
        earlier = f", or that of an earlier {what}" if mine else ""
        raise RunError(
            f"{folder} is not empty and holds no {what}.",
            f"a new or empty folder{earlier}",
            f"choose another {option}; nothing was changed",
        )


def check_outside(folder: Path, data: Path, option: str = "--out") -> None:
    """Refuses a folder that lies in the folder ``data``: its pictures would be read as data.

    Raises:
        RunError: it does.
    """
    if data.is_dir() and folder.resolve().is_relative_to(data.resolve()):
        raise RunError(
            f"{folder} lies inside the data, {data}.",
            "a folder outside the data, so that what is written there is not read as data",
            f"choose another {option}; nothing was changed",
        )


def check_file(path: Path, option: str = "--out") -> None:
    """Whether a file can be written at ``path``, in place of one that is there.

    Raises:
        RunError: something that is no file is there, or it cannot be written.
    """
    if path.is_dir():
        raise RunError(f"{path} is a folder.", "the path of a file", f"choose another {option}")
    if path.exists() and not path.is_file():
        raise RunError(f"{path} is no file.", "the path of a file", f"choose another {option}")
    check_place(path.parent, "a file in a folder", option)


def check_place(folder: Path, expected: str, option: str = "--out") -> None:
    """Whether files can be written to ``folder``, which need not be there yet.

    Raises:
        RunError: it is a file, lies below one, or cannot be written.
    """
    there = folder
    while not there.exists() and not there.is_symlink() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise RunError(f"{there} is no folder.", expected, f"choose another {option}")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise RunError(
            f"{there} cannot be written: {error.strerror or error}.",
            "a folder with permission to write",
            f"choose another {option}",
        ) from error
