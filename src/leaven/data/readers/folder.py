"""Image folders: the folder a picture lies in is its class."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from leaven.data.annotated_listing import TASKS
from leaven.data.csv_cells import read_cell
from leaven.data.files import SUFFIXES
from leaven.data.listing import (
    SPLITS,
    Listing,
    class_indices,
    model_confidence,
    ordered_classes,
    some,
)
from leaven.data.readers.archives import unpack
from leaven.data.readers.csv_file import csv_rows
from leaven.data.readers.tree import IMAGE_FOLDERS
from leaven.data.readers.walk import below
from leaven.errors import DataError
from leaven.plain import brief, counted

UNLABELLED = frozenset({"unlabeled", "unlabelled"})
"""The folder names, in lower case, whose pictures have no label."""

SOURCES = "label-sources.csv"
"""The table beside class folders that says which labels a model gave, and how sure it was."""

_TASK_OF_FOLDER = {
    **dict.fromkeys(("masks", "mask", "gt", "segmentationclass"), "segmentation"),
    **dict.fromkeys(("labels", "label", "annotations", "annotation"), "detection"),
    **dict.fromkeys(("instances", "segmentationobject"), "instance"),
}
"""The task that folders beside the pictures are for, by their names in lower case."""

_CLUTTER = frozenset(
    {"thumbs.db", "desktop.ini", "readme.md", "readme.txt", "license", "labels.csv", SOURCES}
)
_SOURCES = "a CSV file with the columns file, source and confidence"


@dataclass(frozen=True)
class Found:
    """The files below a folder, as sorted relative paths with ``/``.

    Attributes:
        pictures: the files whose ending is that of a picture.
        others: files that are something else.
        folders: the folders, also empty ones.
        sources: the tables that ``write_folder`` put beside the class folders.
    """

    pictures: list[str]
    others: list[str]
    folders: list[str]
    sources: list[str]

    @property
    def has_splits(self) -> bool:
        """Whether the top folders are splits: nothing but train, val, test and unlabelled.

        A folder of classes may have a class called "train"; then other classes lie beside it.
        """
        top = {folder.lower() for folder in self._top}
        return bool(top & SPLITS.keys()) and top <= SPLITS.keys() | UNLABELLED

    @property
    def mixed(self) -> tuple[list[str], list[str]]:
        """The top folders that look like splits, and those beside them that are none.

        One alone that holds no folders is a class of that name: then both lists are empty.
        """
        splits = [folder for folder in self._top if folder.lower() in SPLITS]
        others = [
            folder for folder in self._top if folder.lower() not in SPLITS.keys() | UNLABELLED
        ]
        deep = any(folder.startswith(f"{split}/") for split in splits for folder in self.folders)
        return (splits, others) if others and (deep or len(splits) > 1) else ([], [])

    @property
    def _top(self) -> list[str]:
        return [folder for folder in self.folders if "/" not in folder]


def read_folder(path: Path, *, need_labels: bool = True) -> Listing:
    """An image folder.

    The first folder below ``path`` (or below ``train/``, ``val/``, ``test/``, where the top
    folders are those and no others) is the class, whatever lies deeper. Pictures outside class
    folders and in ``unlabeled/`` or ``unlabelled/`` have no label. Hidden files are skipped.

    A label is a person's, but for those of a model in the table that ``write_folder`` puts beside
    the class folders. A picture that is no longer where that table has it was moved by a person.

    Args:
        path: the folder.
        need_labels: whether the folders have to be classes.

    Raises:
        DataError: there is no picture; or, where labels are needed, there is no class folder, or
            the folders are those of pictures and of what is said of them, or splits and others
            side by side.
    """
    found = find_pictures(path)
    if need_labels:
        _check_splits(path, found)
    splits, classes = [], []
    for name in found.pictures:
        split, label = _place(name, found.has_splits)
        splits.append(split)
        classes.append(label)
    names = ordered_classes(_class_folders(found))
    if not names and need_labels:
        raise DataError(
            f"{path} has {len(found.pictures)} pictures and no class folder, so no label at all.",
            "a folder for each class with a few pictures of it, or a labels file",
            "sort a few pictures of each class into folders named after the classes, "
            "or write them into a CSV file (columns file,label) and give it as --labels.",
        )
    if need_labels:
        _check_classes(path, names)
    notes = [] if not found.others else [others_note(found.others)]
    said = _said(path, found, notes)
    return Listing(
        path.resolve().name,
        [path / name for name in found.pictures],
        found.pictures,
        class_indices(classes, names),
        splits,
        names,
        tuple(notes),
        model_confidence=model_confidence(
            [said.get(name, ("", ""))[0] for name in found.pictures],
            [said.get(name, ("", ""))[1] for name in found.pictures],
            lambda index: f"The row of {found.pictures[index]} in {SOURCES}",
        ),
    )


def _said(path: Path, found: Found, notes: list[str]) -> dict[str, tuple[str, str]]:
    """The source and the confidence of the label of each picture, where a table says them."""
    said, moved, there = {}, 0, {*found.pictures}
    for table in found.sources:
        (_, header), *rows = csv_rows(path / table, {"file"}, _SOURCES) or [(0, [])]
        if not {"file", "source", "confidence"} <= {*header}:
            raise DataError(
                f"{path / table} has the columns {brief(header)}.",
                _SOURCES,
                "restore it as `leaven export` wrote it, or remove it; then all labels count as "
                "those of people.",
            )
        for _, cells in rows:
            row = dict(zip(header, cells))
            name = (PurePosixPath(table).parent / read_cell(row.get("file", ""))).as_posix()
            if name in there:
                said[name] = (row.get("source", ""), row.get("confidence", ""))
            else:
                moved += 1
    if moved:
        notes.append(
            f"{counted(moved, 'picture')} of {SOURCES} {'is' if moved == 1 else 'are'} no longer "
            "where a model put them: where such a picture lies in another class now, that label "
            "counts as a person's."
        )
    return said


def _check_splits(path: Path, found: Found) -> None:
    splits, others = found.mixed
    if not splits:
        return
    meant = {other: get_close_matches(other.lower(), [*SPLITS, *UNLABELLED], 1) for other in others}
    near = [f"{brief(other)} to {close[0]}" for other, close in meant.items() if close]
    one = len(others) == 1
    raise DataError(
        f"{path} has the {'folder' if len(splits) == 1 else 'folders'} {some(splits)} beside "
        f"{some([brief(other) for other in others])}, which {'is no split' if one else 'are no splits'}.",
        "train, val, test and unlabelled alone at the top, with class folders in them, or class "
        "folders alone",
        (f"rename {some(near)}; or " if near else "")
        + f"move {'it' if one else 'them'} into a split. A class that is called {splits[0]} needs another name.",
    )


def _check_classes(path: Path, names: tuple[str, ...]) -> None:
    lower = {name.lower() for name in names}
    beside = [name for name in names if name.lower() in _TASK_OF_FOLDER]
    if not beside or not lower & IMAGE_FOLDERS or lower - IMAGE_FOLDERS - _TASK_OF_FOLDER.keys():
        return
    task = _TASK_OF_FOLDER[beside[0].lower()]
    others = [f"--task {other}" for other in TASKS if other != task]
    raise DataError(
        f"{path} has the folders {' and '.join(names)}: pictures and what is said of them, and no "
        "classes.",
        "a folder for each class, or the task of the data",
        f"add --task {task} (or {' or '.join(others)}); rename the folders where they are classes.",
    )


def find_pictures(root: Path) -> Found:
    """Everything below ``root`` that is not hidden; see ``below`` for links.

    Raises:
        DataError: there is no picture, or something that is refused.
    """
    there = below(root)
    files = [name for name in there.files if PurePosixPath(name).name.lower() not in _CLUTTER]
    sources = [name for name in there.files if PurePosixPath(name).name == SOURCES]
    pictures = [name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES]
    others = [name for name in files if PurePosixPath(name).suffix.lower() not in SUFFIXES]
    if not pictures:
        listed = f"; it has {some(others, 3)}" if others else ""
        raise DataError(
            f"There is no picture in {root}{listed}.",
            "pictures with the endings " + " ".join(sorted(SUFFIXES)),
            unpack(others) or "check the path, or convert the pictures.",
        )
    return Found(pictures, others, there.folders, sources)


def split_of(name: str, has_splits: bool) -> str:
    """The split that the relative path ``name`` says."""
    return _place(name, has_splits)[0]


def others_note(others: list[str]) -> str:
    """The sentence about files that are no pictures."""
    are = "file is not a picture and was" if len(others) == 1 else "files are not pictures and were"
    return f"{len(others)} {are} left out: {some(others)}."


def _place(name: str, has_splits: bool) -> tuple[str, str | None]:
    """The split and the class, or None, of a relative path."""
    *folders, _ = PurePosixPath(name).parts
    split = "train"
    if has_splits and folders and folders[0].lower() in SPLITS:
        split, folders = SPLITS[folders[0].lower()], folders[1:]
    if not folders or folders[0].lower() in UNLABELLED:
        return split, None
    return split, folders[0]


def _class_folders(found: Found) -> set[str]:
    # An empty class folder is a class too: that it has no label is said later.
    inside = {_place(f"{folder}/picture", found.has_splits)[1] for folder in found.folders}
    return {label for label in inside if label is not None}
