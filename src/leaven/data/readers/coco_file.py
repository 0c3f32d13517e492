"""One COCO JSON file: its lists, checked, and where its pictures are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from leaven.data.faults import Faults
from leaven.data.listing import some
from leaven.data.readers.class_names import check_names
from leaven.data.readers.tree import inside, read_text, split_of_file, split_of_path
from leaven.errors import DataError
from leaven.plain import brief, is_text, read_json

_EXPECTED = 'a JSON object with the lists "images", "annotations" and "categories"'
_SAMPLE = 200

Entry: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class CocoFile:
    """The lists of a file.

    Attributes:
        where: the file, for errors.
        split: which its pictures are in.
        folder: what the file names are relative to, below the folder of the data.
        images: the picture of each image id, as a path below the folder.
        entries: what is said of the image of each id.
        annotations: as they are.
        names: the category names in the order of their ids.
        categories: the category name of each id.
        covered: whether pixels without an annotation are void, and not the background.
    """

    where: str
    split: str
    folder: str
    images: dict[int | str, str]
    entries: dict[int | str, Entry]
    annotations: list[Entry]
    names: tuple[str, ...]
    categories: dict[int | str, str]
    covered: bool


class PictureFolders:
    """Finds the folder that the file names of an annotation file are relative to."""

    def __init__(self, pictures: Sequence[str]) -> None:
        self._pictures = set(pictures)
        self._folders = {"."}.union(
            *({str(folder) for folder in PurePosixPath(name).parents} for name in pictures)
        )

    def of(self, names: Sequence[str], split: str) -> str:
        """The folder that has most of ``names``; of equals one of this split, then the shortest."""
        sample = names[:_SAMPLE]

        def rank(folder: str) -> tuple[int, bool, int, str]:
            have = sum(joined(folder, name) in self._pictures for name in sample)
            return -have, split_of_path(f"{folder}/x") != split, len(folder), folder

        return min(self._folders, key=rank)

    def __contains__(self, picture: str) -> bool:
        return picture in self._pictures


def joined(folder: str, name: str) -> str:
    """The relative path of a file in a folder."""
    return (PurePosixPath(folder) / name).as_posix()


def open_coco(file: Path, folders: PictureFolders, root: Path) -> CocoFile:
    """Reads a file and checks its lists.

    Raises:
        DataError: it is no COCO file, an id comes twice, or pictures are not there.
    """
    said = _json(file)
    images = _entries(said, "images", file)
    categories = _entries(said, "categories", file)
    annotations = _entries(said, "annotations", file)
    # A file without a word about its split may lie in the folder of one.
    place = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
    split = split_of_file(file.name) or split_of_path(place) or "train"
    by_id = _by_id(images, "image", file)
    named, faults = dict[int | str, str](), Faults()
    for key, one in by_id.items():
        with faults:
            named[key] = inside(_text(one, "file_name", file), str(file))
    faults.check()
    _check_distinct(list(named.values()), "lists the picture", file)
    numbers = [one["id"] for one in annotations if isinstance(one.get("id"), int | str)]
    _check_distinct(numbers, "has the annotation id", file)
    folder = folders.of(list(named.values()), split)
    found = {key: joined(folder, name) for key, name in named.items()}
    missing = [named[key] for key, name in found.items() if name not in folders]
    if missing:
        raise DataError(
            f"{file} lists {len(missing)} of {len(named)} pictures that are not in {root}: "
            f"{some(missing)}.",
            "each file_name relative to one folder of pictures",
            "add the pictures, or take them and their annotations out of the file.",
        )
    by_number = _by_id(categories, "category", file)
    info = said.get("info")
    return CocoFile(
        str(file),
        split,
        folder,
        found,
        by_id,
        annotations,
        _ordered_names(by_number, file),
        {key: _text(one, "name", file) for key, one in by_number.items()},
        isinstance(info, dict) and info.get("uncovered") == "void",
    )


def _json(file: Path) -> Entry:
    try:
        said = read_json(read_text(file))
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}.", _EXPECTED, "write it again.") from error
    if not isinstance(said, dict):
        raise DataError(f"{file} is JSON of another kind.", _EXPECTED, "give a COCO file.")
    return said


def _entries(said: Entry, name: str, file: Path) -> list[Entry]:
    entries = said.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        there = f"has a list {name!r} with other things than objects"
        raise DataError(
            f"{file} {there if isinstance(entries, list) else f'has no list {name!r}'}.",
            _EXPECTED,
            "give a file of objects in COCO's form.",
        )
    return entries


def _by_id(entries: list[Entry], what: str, file: Path) -> dict[int | str, Entry]:
    ids = [entry.get("id") for entry in entries]
    faults = Faults()
    for found in ids:
        with faults:
            if not isinstance(found, int | str) or isinstance(found, bool):
                raise DataError(
                    f"{file} has an {what} entry with the id {brief(found)}.",
                    "a whole number of its own for each",
                    "correct the file.",
                )
    faults.check()
    _check_distinct(ids, f"has the {what} id", file)
    return dict(zip(ids, entries))  # type: ignore[arg-type]


def _check_distinct(values: Sequence[Any], what: str, file: Path) -> None:
    twice = [str(value) for value, count in Counter(map(str, values)).items() if count > 1]
    if twice:
        raise DataError(
            f"{file} {what} {some(twice)} more than once.", "each once", "correct the file."
        )


def _text(entry: Entry, key: str, file: Path) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value or not is_text(value):
        raise DataError(
            f"{file} has an entry with the id {brief(entry.get('id'))} and the {key} {brief(value)}.",
            f"a {key} in words",
            "correct the file.",
        )
    return value


def _ordered_names(categories: dict[int | str, Entry], file: Path) -> tuple[str, ...]:
    ids = sorted(categories, key=lambda key: (isinstance(key, str), key))
    names = tuple(_text(categories[key], "name", file) for key in ids)
    check_names(names, str(file))
    return names
