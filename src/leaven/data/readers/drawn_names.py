"""Which picture of ours a labelling tool means by what it calls a picture."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from leaven.data.files import SUFFIXES
from leaven.data.formats.folder import place_stems
from leaven.data.readers.drawn import Unusable
from leaven.data.readers.tree import without_suffix

_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the names of files that are uploaded to it."""


class Names:
    """The names of our pictures, found by what others call them.

    A name is found as it is; by the path that ``leaven export`` gave its copy; by the end of a
    path; or by the file name alone, with or without the prefix of an upload. What may be more than
    one picture is none.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = set(names)
        self._copies = {stem.casefold(): name for stem, name in zip(place_stems(names), names)}
        self._files: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self._files[name.rpartition("/")[2]].append(name)

    def find(self, candidates: Iterable[str], own: str | None = None) -> str:
        """The name of our picture.

        Args:
            candidates: what others call it, the surest first.
            own: what ``leaven export`` called it, which is that name or none of ours.

        Raises:
            Unusable: there is none, or more than one.
        """
        if own in self._exact:
            assert own is not None
            return own
        candidates = list(candidates)
        for candidate in candidates:
            found = self._same(candidate) or self._ending(candidate)
            if len(found) == 1:
                return found.pop()
            if found:
                shown = " and ".join(sorted(found)[:3])
                raise Unusable("a name that several pictures have", f"{candidate}: {shown}")
        raise Unusable("a picture that is not of this data", next(iter(candidates), "no name"))

    def _same(self, candidate: str) -> set[str]:
        found = {candidate} & self._exact
        for path in (candidate, candidate.removeprefix("images/")):
            copy = self._copies.get(_stem(path).casefold())
            found |= {copy} if copy is not None else set()
        return found

    def _ending(self, candidate: str) -> set[str]:
        file = candidate.rpartition("/")[2]
        for own in (file, _UPLOADED.sub("", file, count=1)):
            named = self._files.get(own, [])
            ends = [name for name in named if f"/{candidate}".endswith(f"/{name}")]
            if found := set(ends if own == file and ends else named):
                return found
        return set()


def paths_of(address: str) -> list[str]:
    """The paths that an address of a picture may mean: that of a local file, of a URL, or itself."""
    try:
        parts = urlsplit(address)
        local = parse_qs(parts.query).get("d", [])
    except ValueError:
        return [address]
    path = unquote(parts.path).lstrip("/")
    found = [*local, *([path] if parts.scheme or parts.query else [address, path])]
    return [one for one in dict.fromkeys(found) if one]


def is_picture(address: str) -> bool:
    """Whether an address ends as a picture does."""
    return any(PurePosixPath(path).suffix.lower() in SUFFIXES for path in paths_of(address))


def _stem(path: str) -> str:
    return without_suffix(path) if PurePosixPath(path).suffix.lower() in SUFFIXES else path
