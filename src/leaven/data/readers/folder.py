"""Image folders: the folder a picture lies in is its class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from leaven.data.annotated_listing import TASKS
from leaven.data.files import SUFFIXES
from leaven.data.listing import SPLITS, Listing, class_indices, ordered_classes, some
from leaven.data.readers.archives import unpack
from leaven.data.readers.tree import IMAGE_FOLDERS
from leaven.data.readers.walk import below
from leaven.errors import DataError

UNLABELLED = frozenset({"unlabeled", "unlabelled"})
"""The folder names, in lower case, whose pictures have no label."""

_TASK_OF_FOLDER = {
    **dict.fromkeys(("masks", "mask", "gt", "segmentationclass"), "segmentation"),
    **dict.fromkeys(("labels", "label", "annotations", "annotation"), "detection"),
    **dict.fromkeys(("instances", "segmentationobject"), "instance"),
}
"""The task that folders beside the pictures are for, by their names in lower case."""

_CLUTTER = frozenset(
    {"thumbs.db", "desktop.ini", "readme.md", "readme.txt", "license", "labels.csv"}
)


@dataclass(frozen=True)
class Found:
    """The files below a folder, as sorted relative paths with ``/``.

    Attributes:
        pictures: the files whose ending is that of a picture.
        others: files that are something else.
        folders: the folders, also empty ones.
    """

    pictures: list[str]
    others: list[str]
    folders: list[str]

    @property
    def has_splits(self) -> bool:
        """Whether the top folders are splits: nothing but train, val, test and unlabelled.

        A folder of classes may have a class called "train"; then other classes lie beside it.
        """
        top = {folder.lower() for folder in self.folders if "/" not in folder}
        return bool(top & SPLITS.keys()) and top <= SPLITS.keys() | UNLABELLED


def read_folder(path: Path, *, need_labels: bool = True) -> Listing:
    """An image folder.

    The first folder below ``path`` (or below ``train/``, ``val/``, ``test/``, where the top
    folders are those and no others) is the class, whatever lies deeper. Pictures outside class
    folders and in ``unlabeled/`` or ``unlabelled/`` have no label. Hidden files are skipped.

    Args:
        path: the folder.
        need_labels: whether a folder without class folders is refused.

    Raises:
        DataError: there is no picture, or no class folder, or the folders are those of pictures
            and of what is said of them.
    """
    found = find_pictures(path)
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
    return Listing(
        path.resolve().name,
        [path / name for name in found.pictures],
        found.pictures,
        class_indices(classes, names),
        splits,
        names,
        tuple(notes),
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
    pictures = [name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES]
    others = [name for name in files if PurePosixPath(name).suffix.lower() not in SUFFIXES]
    if not pictures:
        listed = f"; it has {some(others, 3)}" if others else ""
        raise DataError(
            f"There is no picture in {root}{listed}.",
            "pictures with the endings " + " ".join(sorted(SUFFIXES)),
            unpack(others) or "check the path, or convert the pictures.",
        )
    return Found(pictures, others, there.folders)


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
