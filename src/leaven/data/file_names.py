"""Names from anywhere as names of files: they stay in their folder, and none meets another."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

from leaven.data.files import SUFFIXES

LONGEST_PART = 180
"""Bytes of a file's or a folder's name; systems take 255, endings and numbers included."""

LONGEST_PATH = 900
"""Bytes of a path below the folder."""

_NOT_IN_NAMES = frozenset('\\:*?"<>|')
_NOT_SHOWN = frozenset({"Cc", "Cn", "Cs", "Zl", "Zp"})
"""The categories of characters that text files, XML or file systems do not take."""
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What turns the direction of writing, so that ``gpj.exe`` is shown as ``exe.jpg``."""
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\.|$)", re.IGNORECASE
)  # What Windows takes for a device, whatever the ending.


def safe_part(part: str, also: str = "") -> str:
    """``part`` as the name of a file or folder on every file system.

    Characters that are not taken become ``%`` and the codes of their bytes in UTF-8; so do those at
    an end that readers or systems pass over: a point in front (a hidden file, ``..``), spaces, a
    point at the end, and the first letter of what Windows takes for a device. What is longer than
    ``LONGEST_PART`` is cut, with a digest of the whole in place of the rest.

    Args:
        part: without ``/``, unless that is in ``also``.
        also: further characters that are written as codes.
    """
    if not part:
        return "%"
    last = len(part) - 1
    device = _DEVICE.match(part) is not None
    safe = "".join(
        _code(letter)
        if letter in _NOT_IN_NAMES
        or letter in also
        or letter in _TURNING
        or unicodedata.category(letter) in _NOT_SHOWN
        or (letter == "." and place in (0, last))
        or (letter.isspace() and place in (0, last))
        or (device and place == 0)
        else letter
        for place, letter in enumerate(part)
    )
    return safe if len(safe.encode()) <= LONGEST_PART else _cut(safe, part)


def safe_path(name: str) -> PurePosixPath:
    """``name`` as a relative path with ``/`` that stays in its folder on every file system."""
    parts = [safe_part(part) for part in name.split("/") if part]
    if not parts:
        return PurePosixPath("picture")
    if len("/".join(parts).encode()) > LONGEST_PATH:
        return PurePosixPath(_cut(parts[-1], name))
    return PurePosixPath(*parts)


def first_as_code(name: str) -> str:
    """``name`` with its first letter as a code, so that it is another one."""
    return _code(name[0]) + name[1:]


class FreeNames:
    """Gives out paths of pictures below a folder, of which no two are one on any file system.

    Some do not tell upper from lower case, or an accent from a letter with it; and nothing is a
    file and a folder at once.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, stem: str, ending: str = "") -> str:
        """A free path without its ending: ``stem``, with a number behind it where it is taken.

        Without ``ending`` no two paths differ in their ending alone.
        """
        if not self._files.isdisjoint(_folders(stem)):
            stem = safe_part(stem, also="/")
        key = _key(stem + ending)
        wanted, number = stem, self._next.get(key, 2)
        while (own := _key(wanted + ending)) in self._files or own in self._folders:
            wanted = f"{stem}-{number}"
            number += 1
        self._next[key] = number
        self._files.add(own)
        self._folders |= _folders(wanted)
        return wanted


def _folders(path: str) -> set[str]:
    """The folders of a path that are called like pictures, without that ending."""
    above = [folder for folder in PurePosixPath(path).parents if folder.suffix.lower() in SUFFIXES]
    return {_key(folder.with_suffix("").as_posix()) for folder in above}


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _code(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


def _cut(safe: str, whole: str) -> str:
    digest = hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    suffix = PurePosixPath(safe).suffix
    ending = suffix if suffix.lower() in SUFFIXES else ""
    room = LONGEST_PART - len(digest) - len(ending) - 1
    start = safe.removesuffix(ending).encode()[:room].decode("utf-8", "ignore")
    return f"{start}~{digest}{ending}"
