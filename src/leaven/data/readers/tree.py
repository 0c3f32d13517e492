"""The files of a data set folder: pictures, splits, and the names they go by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from leaven.data.faults import Faults
from leaven.data.files import SUFFIXES
from leaven.data.listing import SPLITS, some
from leaven.data.readers.walk import below
from leaven.errors import DataError
from leaven.plain import counted

IMAGE_FOLDERS = frozenset({"images", "image", "img", "imgs", "jpegimages"})
"""The folder names, in lower case, that hold pictures and are no part of their names."""

_COPIES = 4
"""What a text takes in memory when it is taken apart, in its own size."""

_SPLIT_FOLDER = re.compile(rf"({'|'.join(SPLITS)})(\d{{4}})?")


@dataclass(frozen=True)
class Tree:
    """The files below ``root`` that are not hidden, as sorted relative paths with ``/``."""

    root: Path
    files: tuple[str, ...]

    @classmethod
    def of(cls, root: Path) -> Tree:
        """Lists the folder; see ``below`` for links and the errors."""
        return cls(root, tuple(below(root).files))

    def ending(self, *suffixes: str) -> list[str]:
        """The files with one of these endings, which are in lower case."""
        return [name for name in self.files if PurePosixPath(name).suffix.lower() in suffixes]

    def pictures(self) -> list[str]:
        """The files that look like pictures."""
        return self.ending(*SUFFIXES)

    def photos(self, labels: Tree, others: frozenset[str] = frozenset()) -> list[str]:
        """The pictures that are to be labelled: those in folders of pictures, where there are such;
        not those below ``labels`` or in the folders ``others``.

        Raises:
            DataError: there is none.
        """
        under = "" if labels.root == self.root else relative(labels.root, self.root)
        found = [
            name
            for name in self.pictures()
            if not lies_in(name, others) and not (under and name.startswith(under + "/"))
        ]
        inner = [name for name in found if lies_in(name, IMAGE_FOLDERS, before=others)]
        found = inner or found
        if not found:
            raise DataError(
                f"There is no picture in {self.root}.",
                "pictures with the endings " + " ".join(sorted(SUFFIXES)),
                "check the path, or convert the pictures.",
            )
        return found

    def text(self, name: str) -> str:
        """The content of a text file in UTF-8.

        Raises:
            DataError: it is not in UTF-8, or cannot be read.
        """
        return read_text(self.root / name)


def read_text(file: Path) -> str:
    """The content of a text file in UTF-8, without a mark of its byte order.

    Raises:
        DataError: it is not in UTF-8, cannot be read, or is too large for the memory.
    """
    try:
        size, free = file.stat().st_size, psutil.virtual_memory().available
        if size > free // _COPIES:
            raise OSError(f"it has {size / 2**30:.1f} GiB, {free / 2**30:.1f} are free")
        return file.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"{file} cannot be read: {error}.", "a text file in UTF-8", "save it as UTF-8."
        ) from error


def relative(path: Path, root: Path) -> str:
    """The path of a folder below ``root``, with ``/``; nothing where it lies elsewhere."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""


def inside(name: str, where: str) -> str:
    """The relative path ``name`` of an annotation file, with ``/`` and without ``.``.

    Raises:
        DataError: it is absolute or leads out of the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    drive = path.as_posix()[1:2] == ":"
    if path.is_absolute() or drive or not path.name or ".." in path.parts or "\0" in name:
        raise DataError(
            f"{where} names the file {name!r}.",
            "a path relative to the folder of the pictures, which does not leave it",
            "write the path as it is below that folder.",
        )
    return path.as_posix()


def split_of_path(name: str) -> str | None:
    """The split that a folder of the relative path ``name`` says, for example val2017."""
    for folder in PurePosixPath(name).parts[:-1]:
        if said := _SPLIT_FOLDER.fullmatch(folder.lower()):
            return SPLITS[said[1]]
    return None


def split_of_file(name: str) -> str | None:
    """The split that the name of an annotation file says, for example instances_train2017.json."""
    words = re.findall("[a-z]+", PurePosixPath(name).name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def short_names(pictures: Sequence[str]) -> list[str]:
    """The relative paths without the folder that holds the pictures, such as ``images``.

    Where two would be the same, all keep their whole path.
    """
    short = [without_folder(name, IMAGE_FOLDERS) for name in pictures]
    return short if len(set(short)) == len(short) else list(pictures)


def without_folder(name: str, folders: frozenset[str]) -> str:
    """The relative path without the first folder of these names, in lower case."""
    parts = PurePosixPath(name).parts
    for place, folder in enumerate(parts[:-1]):
        if folder.lower() in folders:
            return PurePosixPath(*parts[:place], *parts[place + 1 :]).as_posix()
    return name


def lies_in(name: str, folders: frozenset[str], before: frozenset[str] = IMAGE_FOLDERS) -> bool:
    """Whether a folder of the relative path has one of these names, in lower case, and none above
    it is of ``before``: ``images/masks/a.png`` lies in a folder of pictures alone."""
    for folder in PurePosixPath(name).parts[:-1]:
        if folder.lower() in folders:
            return True
        if folder.lower() in before:
            return False
    return False


def without_suffix(name: str) -> str:
    """The relative path without the ending of the file."""
    return PurePosixPath(name).with_suffix("").as_posix()


def by_stem(files: Iterable[str], folders: frozenset[str], what: str) -> dict[str, str]:
    """The files by their paths without ending and without the folder of ``folders`` they lie in.

    So ``train/images/a.jpg`` and ``train/labels/a.txt`` are both ``train/a``.

    Raises:
        DataError: two are called the same, so that ``what`` may belong to either.
    """
    stems, faults = dict[str, str](), Faults()
    for name in files:
        stem = without_suffix(without_folder(name, folders))
        with faults:
            if (other := stems.setdefault(stem, name)) != name:
                raise DataError(
                    f"{other} and {name} differ in their folders or endings alone.",
                    f"one of each name, for {what}",
                    "rename or remove one of them.",
                )
    faults.check()
    return stems


def listed_splits(tree: Tree, lists: dict[str, str], stems: dict[str, str]) -> dict[str, str]:
    """The splits of pictures by lists, which have a path or a path without ending in each line.

    Args:
        tree: the folder.
        lists: the split of each list, a file of ``tree``.
        stems: the pictures by their paths without ending; see ``by_stem``.

    Raises:
        DataError: a line names no picture, or a picture is in two splits.
    """
    splits, faults = dict[str, str](), Faults()
    pictures = set(stems.values())
    for file, split in lists.items():
        for number, line in enumerate(tree.text(file).split("\n"), 1):
            if not (wanted := line.strip(" \t\r")):
                continue
            where = f"Line {number} of {tree.root / file}"
            with faults:
                name = inside(wanted, where)
                whole = name if name in pictures else None
                picture = whole or stems.get(name) or stems.get(without_suffix(name))
                if picture is None:
                    raise DataError(
                        f"{where} names {wanted!r}, which is not a picture of {tree.root}.",
                        "the name of a picture in each line",
                        "correct the line, or add the picture.",
                    )
                if splits.setdefault(picture, split) != split:
                    raise DataError(
                        f"{where} puts {wanted!r} into {split}; it is in {splits[picture]} already.",
                        "each picture in one split",
                        "remove it from one of the lists.",
                    )
    faults.check()
    return splits


def unlisted_note(pictures: Sequence[str], splits: dict[str, str]) -> list[str]:
    """A note of the pictures that no list names, where there are lists.

    Args:
        pictures: all of them.
        splits: those of the listed ones; see ``listed_splits``.
    """
    alone = [name for name in pictures if name not in splits and split_of_path(name) is None]
    if not splits or not alone:
        return []
    are = (
        "is in no list of a split and counts"
        if len(alone) == 1
        else "are in no list of a split and count"
    )
    return [f"{counted(len(alone), 'picture')} {are} as train: {some(alone)}."]
