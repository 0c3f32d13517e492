"""YOLO folders: a text file of boxes or polygons for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import torch

from leaven.data.annotated_listing import AnnotatedListing, Task
from leaven.data.faults import Faults
from leaven.data.listing import SPLITS, some
from leaven.data.readers.box_rows import BoxRows, number, share
from leaven.data.readers.class_names import check_names, class_names
from leaven.data.readers.picture_sizes import PictureFiles
from leaven.data.readers.segments import hull, run_in_picture
from leaven.data.readers.tree import (
    IMAGE_FOLDERS,
    Tree,
    by_stem,
    lies_in,
    listed_splits,
    short_names,
    split_of_path,
    unlisted_note,
)
from leaven.data.readers.yolo_yaml import YoloYaml, read_yaml
from leaven.errors import DataError
from leaven.labels.masks import Masks
from leaven.plain import counted

LABEL_FOLDERS = frozenset({"labels"})
"""The folder names, in lower case, that hold the text files."""

_NO_LABELS = frozenset({"classes", "labels", "readme", "license", "requirements", "obj", *SPLITS})
_LIST = "classes.txt"
_MOST_UNNAMED = 10_000
"""Classes that nobody named; the highest number says how many there are."""
_LARGEST = 3.0
"""Boxes may leave their pictures; a number above this is no share of one that is seen in it."""
_LINE = "class cx cy width height, or class x1 y1 x2 y2 x3 y3 ..., as shares of the picture"


def label_files(labels: Tree) -> list[str]:
    """The text files of boxes: those in ``labels``, or beside pictures where there is no such."""
    texts = labels.ending(".txt")
    found = [name for name in texts if lies_in(name, LABEL_FOLDERS)]
    if found:
        return found
    folders = {str(PurePosixPath(name).parent) for name in labels.pictures()} or {
        str(PurePosixPath(name).parent) for name in texts
    }
    return [
        name
        for name in texts
        if str(PurePosixPath(name).parent) in folders
        and PurePosixPath(name).stem.lower() not in _NO_LABELS
    ]


def read_yolo(tree: Tree, labels: Tree, task: Task) -> AnnotatedListing:
    """Pictures in ``images`` with a text file of the same name in ``labels``, or beside.

    A line is ``class cx cy width height`` as shares of the picture, maybe with a confidence, or
    the class and the corners of a polygon. A picture without a file has no label, one with an
    empty file has nothing in it. The classes are ``names`` of data.yaml, else those of classes.txt
    or classes.json, else those of a classes.txt among the text files, else numbers. The splits are those of data.yaml and of ``train.txt``,
    ``val.txt`` and ``test.txt``, else of the folders (``images/val``), else train.

    Args:
        tree: the folder of the pictures.
        labels: the folder of the text files, often the same.
        task: "detection", or "instance", which needs polygons.

    Raises:
        DataError: a line cannot be understood, a file belongs to no picture, or a class is not
            among the names.
    """
    photos = tree.photos(labels)
    found = PictureFiles.of(tree.root, photos)
    stems = by_stem(photos, IMAGE_FOLDERS, "a label file")
    files = by_stem(label_files(labels), LABEL_FOLDERS, "a picture")
    listed = {stem for stem, name in files.items() if _is_list(name) and stem not in stems}
    files = {stem: name for stem, name in files.items() if stem not in listed}
    alone = [name for stem, name in files.items() if stem not in stems]
    if alone:
        raise DataError(
            f"{counted(len(alone), 'label file')} of {labels.root} without a picture: {some(alone)}.",
            "a picture of the same name for each",
            "add the pictures, or remove the files.",
        )
    settings = read_yaml(tree, photos)
    rows = BoxRows(found.sizes, masks=task == "instance")
    place, highest, faults = found.rows, -1, Faults()
    classes = _classes(tree, labels, stems, settings)
    for stem, name in files.items():
        if stems[stem] in found.unreadable:
            continue
        reader = _Lines(rows, place[stems[stem]], task, classes)
        with faults:
            for line, text in enumerate(labels.text(name).split("\n"), 1):
                if text.strip():
                    with faults:
                        label = reader.add(text, f"Line {line} of {labels.root / name}")
                        highest = max(highest, label)
    faults.check()
    known_names = {stems[stem] for stem in files}
    known = torch.tensor([name in known_names for name in found.files], dtype=torch.bool)
    lists = {**_top_lists(tree), **settings.lists}
    splits = {**settings.splits, **listed_splits(tree, lists, stems)}
    numbered = tuple(map(str, range(highest + 1)))
    unnamed = f"No file names the classes of the boxes; they are numbered 0 to {highest}."
    return AnnotatedListing(
        name=tree.root.resolve().name,
        sources=found.sources,
        names=short_names(found.files),
        splits=[splits.get(name) or split_of_path(name) or "train" for name in found.files],
        classes=numbered if classes is None else classes,
        sizes=found.sizes,
        known=known,
        boxes=rows.labels(known),
        notes=(
            *found.notes,
            *settings.notes,
            *rows.notes,
            *unlisted_note(found.files, splits if lists else {}),
            *((unnamed,) if classes is None and numbered else ()),
        ),
    )


class _Lines:
    """The lines of one label file."""

    def __init__(
        self, rows: BoxRows, row: int, task: Task, classes: tuple[str, ...] | None
    ) -> None:
        self._rows, self._row, self._task, self._classes = rows, row, task, classes
        height, width = rows.size(row)
        self._scale = np.array([width, height], dtype=np.float64)

    def add(self, text: str, where: str) -> int:
        """Adds the box of a line and returns its class."""
        words = text.split()
        values = [number(word, "the value", where) for word in words]
        label = self._label(values[0], where)
        numbers = values[1:]
        places = numbers[:4] if len(numbers) == 5 else numbers
        if (largest := max(map(abs, places), default=0)) > _LARGEST:
            raise DataError(
                f"{where} has the number {largest:g} for a place in the picture: this looks like "
                "pixels.",
                _LINE,
                "divide x and widths by the width of the picture, y and heights by its height.",
            )
        if len(numbers) >= 6 and len(numbers) % 2 == 0:
            self._polygon(numbers, label, where)
        elif len(numbers) in (4, 5) and self._task == "detection":
            confidence = share(numbers[4], "the confidence", where) if len(numbers) == 5 else 1.0
            self._box(numbers[:4], label, confidence, where)
        else:
            expected = _LINE if self._task == "detection" else "class x1 y1 x2 y2 x3 y3 ..."
            raise DataError(f"{where} has {len(words)} numbers.", expected, "correct the line.")
        return label

    def _label(self, value: float, where: str) -> int:
        count = _MOST_UNNAMED if self._classes is None else len(self._classes)
        if value != int(value) or not 0 <= value < count:
            raise DataError(
                f"{where} has the class {value:g}.",
                f"a whole number from 0 to {count - 1}",
                "correct the line or the list of classes.",
            )
        return int(value)

    def _box(self, numbers: Sequence[float], label: int, confidence: float, where: str) -> None:
        centre, sides = np.array(numbers[:2]), np.array(numbers[2:])
        if (sides < 0).any():
            raise DataError(
                f"{where} has the width and height {sides[0]:g} and {sides[1]:g}.",
                "at least 0",
                "correct the line.",
            )
        shares = np.concatenate([centre - sides / 2, centre + sides / 2])
        # A millionth of a pixel is what was lost when the shares were written.
        corners = np.round(shares * np.tile(self._scale, 2), 6).tolist()
        self._rows.add(self._row, corners, label, where, confidence=confidence)

    def _polygon(self, numbers: Sequence[float], label: int, where: str) -> None:
        polygon = np.array(numbers).reshape(-1, 2) * self._scale
        if self._task == "detection":
            self._rows.add(self._row, hull([polygon]), label, where)
            return
        size = self._rows.size(self._row)
        run = run_in_picture([polygon], size, where)
        box = Masks([run], torch.tensor([size])).boxes()[0].tolist()
        self._rows.add(self._row, box, label, where, run=run)


def _classes(
    tree: Tree, labels: Tree, stems: dict[str, str], settings: YoloYaml
) -> tuple[str, ...] | None:
    if settings.names is not None:
        return settings.names
    if (said := class_names(tree)) is not None:
        return said.names
    # LabelImg writes the list to the text files; a picture may be called so too.
    texts = by_stem([n for n in labels.ending(".txt") if _is_list(n)], LABEL_FOLDERS, "a picture")
    lists = {name: _names(labels, name) for stem, name in texts.items() if stem not in stems}
    if len(set(lists.values())) > 1:
        raise DataError(
            f"The lists of classes in {labels.root} differ: {some(list(lists))}.",
            "one list of classes",
            "write the names into classes.txt at the top of the folder.",
        )
    return next(iter(lists.values()), None)


def _is_list(name: str) -> bool:
    return PurePosixPath(name).name.lower() == _LIST


def _names(labels: Tree, name: str) -> tuple[str, ...]:
    lines = [line.strip() for line in labels.text(name).splitlines()]
    names = tuple(line for line in lines if line)
    check_names(names, str(labels.root / name))
    return names


def _top_lists(tree: Tree) -> dict[str, str]:
    return {
        name: SPLITS[name[:-4].lower()]
        for name in tree.ending(".txt")
        if "/" not in name and name[:-4].lower() in SPLITS
    }
