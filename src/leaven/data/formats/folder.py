"""The folder that a data set is written to: whole or not there, with its pictures."""

from __future__ import annotations

import io
import json
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from PIL import Image

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.files import SUFFIXES
from leaven.data.sources import Source
from leaven.errors import DataError
from leaven.labels.boxes import BoxLabels

_NOT_IN_NAMES = frozenset('\\:*?"<>|')
_NOT_SHOWN = frozenset({"Cc", "Cn", "Cs", "Zl", "Zp"})
"""The categories of characters that text files, XML or file systems do not take."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: the folder.
        pictures: how many pictures.
        labelled: how many of them somebody has said something of.
        rows: how many boxes, masks, or label maps.
        notes: what the form has no place for.
    """

    path: Path
    pictures: int
    labelled: int
    rows: int
    notes: tuple[str, ...] = ()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` to write to, which is moved there when the block ends.

    Raises:
        DataError: ``folder`` is there and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} is there and not empty.", "a new or an empty folder", "name another folder."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        whole = Path(made) / folder.name
        whole.mkdir()
        yield whole
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)


def write_pictures(listing: AnnotatedListing, folder: Path) -> list[str]:
    """Writes the pictures to ``folder`` and returns their paths below it.

    Files and bytes are copied as they are; decoded pictures become PNG. A picture keeps its name;
    characters that file systems do not take become ``%`` and their code, and a name that another
    picture has, but for its ending or upper case, gets a number.

    Raises:
        DataError: a picture is gone.
    """
    written: list[str] = []
    taken: set[str] = set()
    for item, name in enumerate(listing.names):
        content, suffix = _encoded(listing.sources[item], name)
        place = _free_name(_safe(name), suffix, taken)
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        written.append(place)
    return written


def write_json(path: Path, content: Any) -> None:
    """Writes ``content`` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def write_splits(listing: AnnotatedListing, lines: list[str], folder: Path) -> None:
    """Writes ``train.txt``, ``val.txt`` and ``test.txt`` of the ``lines`` of the pictures, where
    there is more than one split or another than train."""
    splits = list(dict.fromkeys(listing.splits))
    if splits == ["train"]:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        chosen = [line for line, own in zip(lines, listing.splits, strict=True) if own == split]
        (folder / f"{split}.txt").write_text("".join(f"{line}\n" for line in chosen), "utf-8")


def chosen_boxes(listing: AnnotatedListing, *, every: bool) -> BoxLabels:
    """The boxes to write: the accepted ones, or every one.

    Raises:
        DataError: the listing has label maps.
    """
    if listing.boxes is None:
        raise DataError(
            f"{listing.name} has a class per pixel, and this form holds boxes.",
            "boxes, or boxes with masks",
            "write it as COCO, mask files or for Label Studio.",
        )
    boxes = listing.boxes.cpu()
    return boxes if every else boxes.keep(boxes.accepted)


def per_picture(labels: BoxLabels) -> list[range]:
    """The rows of each picture."""
    ends = labels.counts.cumsum(0).tolist()
    return [range(end - count, end) for end, count in zip(ends, labels.counts.tolist())]


def written(listing: AnnotatedListing, path: Path, rows: int, notes: list[str]) -> Written:
    """The account of a whole folder."""
    return Written(
        path, len(listing), int(torch.as_tensor(listing.known).sum()), rows, tuple(notes)
    )


def without_suffix(place: str) -> str:
    """The path of a picture without its ending."""
    return PurePosixPath(place).with_suffix("").as_posix()


def _encoded(source: Source, name: str) -> tuple[bytes, str]:
    """The picture as the content of a file, and the ending of such a file."""
    try:
        if isinstance(source, Path):
            return source.read_bytes(), source.suffix
        if isinstance(source, bytes):
            with Image.open(io.BytesIO(source)) as image:
                return source, f".{(image.format or 'png').lower()}"
        if source is not None:
            buffer = io.BytesIO()
            source.save(buffer, "PNG")
            return buffer.getvalue(), ".png"
    except OSError as error:
        raise _gone(name, str(error)) from error
    raise _gone(name, "there is none")


def _gone(name: str, reason: str) -> DataError:
    return DataError(
        f"The picture {name} cannot be copied: {reason}.",
        "the pictures where they were read",
        "put them back, or say where they are now.",
    )


def _safe(name: str) -> PurePosixPath:
    """The name as a relative path that stays in its folder on every file system."""
    parts = [_safe_part(part) for part in name.split("/") if part]
    return PurePosixPath(*parts) if parts else PurePosixPath("picture")


def _safe_part(part: str) -> str:
    last = len(part) - 1
    return "".join(
        f"%{ord(letter):02X}"
        if letter in _NOT_IN_NAMES
        or unicodedata.category(letter) in _NOT_SHOWN
        # Readers pass over hidden files, and lists lose spaces at the ends of their lines.
        or (letter == "." and place == 0)
        or (letter.isspace() and place in (0, last))
        else letter
        for place, letter in enumerate(part)
    )


def _free_name(name: PurePosixPath, suffix: str, taken: set[str]) -> str:
    """The name with the ending of its content; no two differ in their ending alone."""
    stem = name.with_suffix("") if name.suffix.lower() in SUFFIXES else name
    same = name.suffix.lower() == suffix.lower()
    number, wanted = 1, stem.as_posix()
    # Some file systems do not tell upper from lower case.
    while wanted.casefold() in taken:
        number += 1
        wanted = f"{stem.as_posix()}-{number}"
    taken.add(wanted.casefold())
    return f"{wanted}{name.suffix if same else suffix}"
