"""The sizes of pictures from their headers, and which of them can be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from leaven.data.files import PictureError, PictureInfo, is_turned, pool, probe
from leaven.data.listing import allowed_unreadable, some
from leaven.data.sources import Source, SourceList
from leaven.errors import DataError

_EXTREME_RATIO = 10.0

_share: ContextVar[float | None] = ContextVar("share", default=None)
_tolerated: ContextVar[list[PictureError] | None] = ContextVar("tolerated", default=None)


@contextmanager
def unreadable_share(share: float | None) -> Iterator[None]:
    """Inside, this share of the pictures may be unreadable; see ``allowed_unreadable``."""
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)


@contextmanager
def tolerating() -> Iterator[list[PictureError]]:
    """Inside, any share of the pictures may be unreadable, as long as one is not; the list that is
    given fills with those that were."""
    unreadable: list[PictureError] = []
    token = _tolerated.set(unreadable)
    try:
        yield unreadable
    finally:
        _tolerated.reset(token)


@dataclass(frozen=True)
class Sized:
    """Pictures whose headers could be read.

    Attributes:
        kept: their positions among those asked for, in order.
        sizes: (k, 2) int64, height and width.
        notes: what people should know.
    """

    kept: list[int]
    sizes: Tensor
    notes: list[str]


def picture_sizes(sources: SourceList, names: Sequence[str], where: str) -> Sized:
    """Reads the header of every picture, and leaves out those that cannot be read.

    Raises:
        DataError: there is no picture, or more of them than ``unreadable_share`` allows cannot be
            read, outside of ``tolerating``.
    """
    count = len(names)

    def look(item: int) -> PictureInfo | PictureError:
        try:
            return probe(sources[item], names[item])
        except PictureError as error:
            return error

    found = list(pool().map(look, range(count)))
    failed = [error for error in found if isinstance(error, PictureError)]
    infos = {item: info for item, info in enumerate(found) if isinstance(info, PictureInfo)}
    listed = some([f"{error.name} ({error.reason})" for error in failed])
    tolerated = _tolerated.get()
    allowed = allowed_unreadable(count, _share.get()) if tolerated is None else count
    if tolerated is not None:
        tolerated += failed
    if not infos or len(failed) > allowed:
        raise DataError(
            f"{len(failed)} of {count} pictures of {where} could not be read"
            + (f": {listed}." if failed else "."),
            f"at least one picture, and at most {allowed} unreadable "
            + ("one" if allowed == 1 else "ones"),
            "check the path, and replace or remove these files with what is said of them, or allow "
            "a larger share of unreadable pictures (--max-unreadable).",
        )
    notes = []
    if failed:
        one = len(failed) == 1
        are = "picture could not be read and was" if one else "pictures could not be read and were"
        notes.append(f"{len(failed)} {are} left out, with what is said of it: {listed}.")
    long = [
        f"{names[item]} ({info.width}x{info.height})"
        for item, info in infos.items()
        if max(info.width, info.height) > _EXTREME_RATIO * min(info.width, info.height)
    ]
    if long:
        notes.append(
            f"{len(long)} {'picture is' if len(long) == 1 else 'pictures are'} more than "
            f"{_EXTREME_RATIO:g} times as long as wide: {some(long)}."
        )
    sizes = torch.tensor([(info.height, info.width) for info in infos.values()], dtype=torch.int64)
    return Sized(list(infos), sizes, notes)


def annotated_otherwise(
    where: str, name: str, said: tuple[str, str], size: tuple[int, int], picture: Source
) -> DataError:
    """The error where annotations say another size than that of their picture.

    Args:
        where: the file of the annotations.
        name: what it calls the picture.
        said: height and width, as they are written there.
        size: those of the picture, as it is shown.
        picture: where it is, to see whether it is shown turned.
    """
    found = (
        f"{where} says that {name} is {said[1]}x{said[0]}; the picture is {size[1]}x{size[0]} as it "
        "is shown"
    )
    if said == (str(size[1]), str(size[0])) and is_turned(picture, name):
        return DataError(
            f"{found}, for its EXIF orientation turns it.",
            "annotations that were made on the picture as it is shown",
            "turn the annotations as the orientation turns the picture, or take the orientation "
            "out of the picture.",
        )
    return DataError(
        f"{found}.",
        "annotations that were made on this picture",
        "correct the size, or put the picture back that was annotated.",
    )


@dataclass(frozen=True)
class PictureFiles:
    """The readable pictures of a folder.

    Attributes:
        root: the folder.
        files: their relative paths.
        sizes: their heights and widths.
        unreadable: the relative paths of pictures that cannot be read.
        notes: what people should know.
    """

    root: Path
    files: list[str]
    sizes: Tensor
    unreadable: frozenset[str]
    notes: list[str]

    @classmethod
    def of(cls, root: Path, files: Sequence[str]) -> PictureFiles:
        """Reads the headers of ``files``; see ``picture_sizes`` for the errors."""
        sized = picture_sizes([root / name for name in files], files, str(root))
        kept = [files[item] for item in sized.kept]
        return cls(root, kept, sized.sizes, frozenset(files) - set(kept), sized.notes)

    @property
    def sources(self) -> list[Path]:
        """Where the pictures are."""
        return [self.root / name for name in self.files]

    @property
    def rows(self) -> dict[str, int]:
        """The position of each picture."""
        return {name: row for row, name in enumerate(self.files)}
