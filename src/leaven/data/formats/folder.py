"""The folder that a data set is written to: whole or not there, with its pictures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.encoded import encoded as encoded_picture
from leaven.data.file_names import FreeNames, safe_path
from leaven.data.files import SUFFIXES
from leaven.errors import DataError
from leaven.labels.boxes import BoxLabels


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
    copies = write_copies(listing.names, partial(encoded, listing), folder, range(len(listing)))
    return list(copies.values())


def write_copies(
    names: Sequence[str],
    content: Callable[[int], tuple[bytes, str]],
    folder: Path,
    items: Iterable[int],
) -> dict[int, str]:
    """Writes some of the pictures ``names`` to ``folder``, and returns the path of each below it.

    The paths do not depend on which are written; see ``write_pictures``.

    Args:
        names: of all pictures.
        content: what a file of that picture holds, and its ending.
        folder: where.
        items: which pictures.

    Raises:
        DataError: a picture is gone.
    """
    written, stems = {}, place_stems(names)
    for item in items:
        copied, suffix = content(item)
        named = safe_path(names[item]).suffix
        written[item] = stems[item] + (named if named.lower() == suffix.lower() else suffix)
        target = folder / written[item]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(copied)
    return written


def place_stems(names: Sequence[str]) -> list[str]:
    """The paths of the copies of the pictures ``names``, without their endings."""
    free = FreeNames()
    return [free.take(_stem(safe_path(name))) for name in names]


def encoded(listing: AnnotatedListing, item: int) -> tuple[bytes, str]:
    """A picture as the content of a file, and the ending of such a file.

    Raises:
        DataError: it is gone.
    """
    return encoded_picture(listing.sources[item], listing.names[item])


def check_xml_names(classes: Sequence[str]) -> None:
    """Whether XML keeps the names of the classes.

    Raises:
        DataError: it does not.
    """
    wrong = [name for name in classes if name != name.strip() or not name.isprintable()]
    if wrong:
        raise DataError(
            f"XML does not keep the class name {wrong[0]!r}.",
            "names of letters that are seen, without spaces at their ends",
            "rename the class, or write COCO JSON.",
        )


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
    """The boxes to write: the accepted ones, or every one, of pictures that are known.

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
    boxes = boxes.keep(boxes.known[boxes.pictures])
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


def _stem(name: PurePosixPath) -> str:
    return (name.with_suffix("") if name.suffix.lower() in SUFFIXES else name).as_posix()
