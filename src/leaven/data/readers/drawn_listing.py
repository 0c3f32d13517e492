"""Pictures that were annotated in Label Studio or CVAT, as data to learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch

from leaven.data.annotated_listing import AnnotatedListing, Task
from leaven.data.faults import Faults
from leaven.data.label_maps import BACKGROUND, VOID_NAME, VOID_NAMES, PaintedMaps
from leaven.data.listing import ordered_classes, some
from leaven.data.readers.box_rows import BoxRows
from leaven.data.readers.class_names import check_names, class_names
from leaven.data.readers.drawn import DrawnPicture, Placed, Shape, Size, Unusable
from leaven.data.readers.drawn_files import DrawnFile
from leaven.data.readers.drawn_names import Names
from leaven.data.readers.picture_sizes import PictureFiles
from leaven.data.readers.tree import Tree, short_names, split_of_path
from leaven.errors import DataError
from leaven.labels.pixels import VOID
from leaven.plain import counted


def read_drawn(tree: Tree, files: Sequence[DrawnFile], task: Task) -> AnnotatedListing:
    """Exports of Label Studio or CVAT, with the pictures of a folder.

    An annotation of Label Studio that has nothing in it says that the picture is empty; a picture
    without one, or with cancelled ones alone, has no label. CVAT does not tell an empty picture
    from one that nobody looked at: there a picture without a box or mask has no label. Every
    annotation counts as a person's. The classes are the labels of CVAT's task, or those of
    classes.json, else the names in alphabetical order. The splits are those of the folders.

    For label maps the masks are painted, small over large, over the class ``background``, which is
    added in front where there is none. The class ``void`` (or ``ignore``) is void; where there is
    such a class and no background, what no mask covers is void too.

    Args:
        tree: the folder of the pictures.
        files: the exports, of one tool.
        task: "detection" takes the box around a mask; the others need masks.

    Raises:
        DataError: a file is damaged, is about pictures that are not there, or has something drawn
            that cannot be.
    """
    found = PictureFiles.of(tree.root, tree.pictures())
    names = short_names(found.files)
    said = _pictures(files, Names(names))
    classes = _classes(tree, said, files)
    place = {name: row for row, name in enumerate(names)}
    rows = BoxRows(found.sizes, masks=task != "detection")
    counts: Counter[str] = Counter()
    known, faults = torch.zeros(len(names), dtype=torch.bool), Faults()
    for name, picture in said.pictures.items():
        row = place[name]
        known[row] = picture.state == "said" and (bool(picture.shapes) or picture.looked)
        counts.update(picture.passed)
        with faults:
            for shape, placed in _placed(picture, rows.size(row), task, counts):
                label = classes.index(shape.name)
                rows.add(row, placed.box, label, picture.where, run=placed.run, crowd=shape.crowd)
    faults.check()
    boxes, maps, notes = rows.labels(known), None, list(rows.notes)
    if task == "segmentation":
        shown, values, base = _painting(classes, str(files[0].path))
        maps = PaintedMaps(boxes, found.sizes, values, base)
        if VOID not in values:
            notes.append(
                f"Pixels that nothing covers count as {BACKGROUND}; draw those of which nothing is "
                f"known as the class {VOID_NAME}."
            )
        classes = shown
    return AnnotatedListing(
        name=tree.root.resolve().name,
        sources=found.sources,
        names=names,
        splits=[split_of_path(name) or "train" for name in found.files],
        classes=classes,
        sizes=found.sizes,
        known=known,
        boxes=boxes if maps is None else None,
        maps=maps,
        notes=(*found.notes, *notes, *(f"{n} {what}." for what, n in counts.items())),
    )


class _Said(NamedTuple):
    pictures: dict[str, DrawnPicture]
    classes: tuple[str, ...]


def _pictures(files: Sequence[DrawnFile], names: Names) -> _Said:
    """What is said of each picture by its name, and the classes that the files tell."""
    pictures: dict[str, DrawnPicture] = {}
    classes: dict[str, None] = {}
    missing: list[str] = []
    for file in files:
        drawn, told = file.read()
        classes |= dict.fromkeys(told)
        for picture in drawn:
            try:
                name = names.find(picture.names, picture.own)
            except Unusable as problem:
                missing.append(f"{problem.detail} ({problem.reason})")
                continue
            if name in pictures and pictures[name].state == picture.state == "said":
                raise _refused(picture, f"is about {name}, and so is {pictures[name].where}")
            if name not in pictures or picture.state == "said":
                pictures[name] = picture
    if missing:
        raise DataError(
            f"{files[0].path} is about {counted(len(missing), 'picture')} that cannot be found: "
            f"{some(missing)}.",
            "the pictures that were annotated, under their names",
            "add the pictures, or take them out of the project and export it again.",
        )
    return _Said(pictures, tuple(classes))


def _classes(tree: Tree, said: _Said, files: Sequence[DrawnFile]) -> tuple[str, ...]:
    """The classes, in order."""
    used = {shape.name for picture in said.pictures.values() for shape in picture.shapes}
    listed = class_names(tree)
    classes = said.classes or (listed.names if listed is not None else ordered_classes(used))
    if not any(picture.state == "said" for picture in said.pictures.values()):
        raise DataError(
            f"Nobody has annotated a picture of {files[0].path} yet; predictions are no "
            "annotations.",
            "an export of a project in which people have submitted something",
            "correct or confirm the predictions in the labelling tool, submit them, and export the "
            "project again.",
        )
    check_names(classes, str(files[0].path))
    if used - set(classes):
        raise DataError(
            f"{files[0].path} has the classes {some(sorted(used - set(classes)))}.",
            "the classes of the list: " + some(classes, 30),
            "correct the names or the list of classes.",
        )
    return classes


def _placed(
    picture: DrawnPicture, size: Size, task: Task, counts: Counter[str]
) -> list[tuple[Shape, Placed]]:
    found = []
    try:
        if picture.problem is not None:
            raise picture.problem
        picture.check_size(size)
        for shape in picture.shapes:
            placed = shape.place(size)
            if placed is None:
                counts["shapes have no area in their picture and were left out"] += 1
                continue
            if placed.turned:
                counts["turned boxes count as the upright boxes around them"] += 1
            if task == "detection":
                placed = Placed(placed.box)
            elif placed.run is None:
                raise Unusable("a box where a mask is needed")
            found.append((shape, placed))
    except Unusable as problem:
        detail = f" ({problem.detail})" if problem.detail else ""
        raise _refused(picture, f"has {problem.reason}{detail}") from problem
    return found


def _painting(names: tuple[str, ...], where: str) -> tuple[tuple[str, ...], list[int], int]:
    """The classes of the maps, the value of each name, and that of what is not covered."""
    classes = tuple(name for name in names if name.lower() not in VOID_NAMES)
    if BACKGROUND not in classes and len(classes) == len(names):
        classes = (BACKGROUND, *classes)
    if len(classes) > VOID:
        raise DataError(
            f"{where} has {len(classes)} classes.", f"at most {VOID}", "join some of them."
        )
    values = [classes.index(name) if name in classes else VOID for name in names]
    return classes, values, classes.index(BACKGROUND) if BACKGROUND in classes else VOID


def _refused(picture: DrawnPicture, problem: str) -> DataError:
    where = picture.where[0].upper() + picture.where[1:]
    return DataError(
        f"{where} {problem}.",
        "boxes or masks that were drawn on the pictures of this folder",
        "correct it in the labelling tool and export it again.",
    )
