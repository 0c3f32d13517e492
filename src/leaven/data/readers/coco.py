"""COCO JSON: boxes, masks, and label maps that are painted from them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

import torch

from leaven.data.annotated_listing import AnnotatedListing, Task
from leaven.data.faults import Faults
from leaven.data.label_maps import BACKGROUND, VOID_NAMES, PaintedMaps
from leaven.data.listing import some
from leaven.data.readers.box_rows import BoxRows, number, share, source_of
from leaven.data.readers.coco_file import CocoFile, Entry, PictureFolders, open_coco
from leaven.data.readers.picture_sizes import PictureFiles, annotated_otherwise
from leaven.data.readers.segments import run_of_segment
from leaven.data.readers.tree import Tree, short_names, split_of_path
from leaven.errors import DataError
from leaven.labels.classes import Source
from leaven.labels.masks import Masks
from leaven.labels.pixels import VOID
from leaven.plain import brief

_NOT_OBJECTS = ("captions", "person_keypoints", "image_info", "panoptic", "stuff")
_OTHER_FILES = {"classes.json", "cvat_labels.json", "instances.json"}


def coco_files(tree: Tree) -> list[str]:
    """The JSON files that hold objects: at the top, in ``annotations``, or named ``.coco.json``.

    Files that COCO itself names for other things (captions, keypoints) are passed over.
    """
    found = []
    for name in tree.ending(".json"):
        path = PurePosixPath(name)
        near = len(path.parts) == 1 or path.parent.name.lower() == "annotations"
        other = path.name in _OTHER_FILES or path.name.startswith(_NOT_OBJECTS)
        if (near or path.name.endswith(".coco.json")) and not other:
            found.append(name)
    return found


def read_coco(tree: Tree, files: Sequence[Path], task: Task) -> AnnotatedListing:
    """COCO JSON files with the pictures of a folder.

    ``file_name`` is looked for in every folder of pictures; the one that has most of them is
    taken. A picture that a file lists was looked at: without annotations it is empty. Pictures
    that lie beside listed ones and that no file lists have no label. The split is that of the
    file's name (``instances_val2017.json``), else of its folder (``val/``), else train. The
    classes are the categories in the order of their ids. ``iscrowd`` is ``crowd``; the keys
    ``score``, ``weight`` and ``source`` (nobody, person, model) that ``write_coco`` adds are taken
    where they are.

    For label maps the annotations are painted, small over large, over the class ``background``,
    which is added in front where there is none. Where the file says ``"uncovered": "void"`` in its
    ``info`` they are painted over void, and no class is added. The category ``void`` (or ``ignore``) is void.
    Crowds are painted as their class.

    Args:
        tree: the folder of the pictures.
        files: the JSON files.
        task: "segmentation" and "instance" need a segmentation in every annotation, "detection"
            takes the box around it where there is no ``bbox``.

    Raises:
        DataError: a file is damaged, lists pictures that are not there, or has annotations that
            cannot be.
    """
    folders = PictureFolders(tree.pictures())
    opened = [open_coco(file, folders, tree.root) for file in files]
    splits = _splits(opened)
    beside = {PurePosixPath(picture).parent for picture in splits}
    beside |= {PurePosixPath(file.folder) for file in opened if file.folder != "."}
    used = [name for name in tree.pictures() if beside & {*PurePosixPath(name).parents}]
    found = PictureFiles.of(tree.root, used)
    known = torch.tensor([name in splits for name in found.files], dtype=torch.bool)
    names = tuple(dict.fromkeys(name for file in opened for name in file.names))
    rows = BoxRows(found.sizes, masks=task != "detection")
    faults = Faults()
    for file in opened:
        _add(file, found, names, rows, task, faults)
    faults.check()
    boxes, maps, classes = rows.labels(known), None, names
    if task == "segmentation":
        classes, values, base = _painting(names, opened)
        maps = PaintedMaps(boxes, found.sizes, values, base)
    return AnnotatedListing(
        name=tree.root.resolve().name,
        sources=found.sources,
        names=short_names(found.files),
        splits=[splits.get(name) or split_of_path(name) or "train" for name in found.files],
        classes=classes,
        sizes=found.sizes,
        known=known,
        boxes=boxes if maps is None else None,
        maps=maps,
        notes=(*found.notes, *rows.notes),
    )


def _splits(opened: list[CocoFile]) -> dict[str, str]:
    """The split of every listed picture."""
    splits: dict[str, str] = {}
    for file in opened:
        again = [picture for picture in file.images.values() if picture in splits]
        if again:
            raise DataError(
                f"{file.where} and another annotation file list the same pictures: {some(again)}.",
                "each picture in one annotation file",
                "name the one that is meant with --annotations.",
            )
        splits.update(dict.fromkeys(file.images.values(), file.split))
    if not splits:
        raise DataError(
            f"{opened[0].where} lists no picture.", "at least one entry in images", "give another."
        )
    return splits


def _painting(
    names: tuple[str, ...], opened: list[CocoFile]
) -> tuple[tuple[str, ...], list[int], int]:
    """The classes of the maps, the value of each category, and that of what is not covered."""
    classes = tuple(name for name in names if name.lower() not in VOID_NAMES)
    covered = all(file.covered for file in opened)
    if not covered and BACKGROUND not in classes:
        classes = (BACKGROUND, *classes)
    if len(classes) > VOID:
        raise DataError(
            f"{opened[0].where} has {len(classes)} classes.",
            f"at most {VOID} classes of pixels",
            "join some of them.",
        )
    values = [classes.index(name) if name in classes else VOID for name in names]
    return classes, values, VOID if covered else classes.index(BACKGROUND)


def _add(
    file: CocoFile,
    found: PictureFiles,
    names: tuple[str, ...],
    rows: BoxRows,
    task: Task,
    faults: Faults,
) -> None:
    """Adds the annotations of a file to ``rows``."""
    place, position = found.rows, {name: index for index, name in enumerate(names)}
    for key, picture in file.images.items():
        if picture not in found.unreadable:
            with faults:
                size = rows.size(place[picture])
                _check_size(file.entries[key], size, file.where, found.root / picture)
    for order, annotation in enumerate(file.annotations):
        where = f"The annotation {_number(annotation, order)} of {file.where}"
        with faults:
            image, category = annotation.get("image_id"), annotation.get("category_id")
            if type(image) not in (int, str) or image not in file.images:
                raise _no_id(where, "image", image, file.images)
            if type(category) not in (int, str) or category not in file.categories:
                raise _no_id(where, "category", category, file.categories)
            if file.images[image] in found.unreadable:
                continue
            row = place[file.images[image]]
            run, box = _shape(annotation, rows.size(row), task, where)
            rows.add(
                row,
                box,
                position[file.categories[category]],
                where,
                run=run,
                crowd=_crowd(annotation, where),
                confidence=share(annotation.get("score", 1), "the score", where),
                weight=share(annotation.get("weight", 1), "the weight", where),
                source=source_of(annotation["source"], where)
                if "source" in annotation
                else Source.PERSON,
            )


def _shape(
    annotation: Entry, size: tuple[int, int], task: Task, where: str
) -> tuple[bytes | None, list[float]]:
    """The run lengths, where the task wants some, and x1, y1, x2, y2."""
    given = annotation.get("bbox")
    run = None
    if task != "detection" or given is None:
        run = run_of_segment(annotation.get("segmentation"), size, where)
    if given is None:
        assert run is not None
        around: list[float] = Masks([run], torch.tensor([size])).boxes()[0].tolist()
        return run, around
    if not isinstance(given, list) or len(given) != 4:
        raise _unknown(where, "bbox", given, "x, y, width and height")
    x, y, width, height = (number(value, "a number of the bbox", where) for value in given)
    if width < 0 or height < 0:
        raise _unknown(where, "bbox", given, "a width and a height of at least 0")
    return run, [x, y, x + width, y + height]


def _number(annotation: Entry, order: int) -> str:
    """What errors call an annotation."""
    own = annotation.get("id")
    return brief(own).strip("'") if isinstance(own, int | str) else f"number {order}"


def _crowd(annotation: Entry, where: str) -> bool:
    said = annotation.get("iscrowd", 0)
    if not isinstance(said, int | float) or said not in (0, 1):
        raise _unknown(where, "iscrowd", said, "0 or 1")
    return bool(said)


def _check_size(entry: Entry, size: tuple[int, int], where: str, picture: Path) -> None:
    said = (entry.get("height", size[0]), entry.get("width", size[1]))
    if said != size:
        words = brief(said[0]), brief(said[1])
        raise annotated_otherwise(where, entry["file_name"], words, size, picture)


def _no_id(where: str, what: str, value: object, ids: Collection[int | str]) -> DataError:
    article = "an" if what == "image" else "a"
    expected = f"the id of {article} {what} of the file"
    if str(value) not in {str(one) for one in ids}:
        return _unknown(where, f"{what}_id", value, expected)
    return DataError(
        f"{where} has the {what}_id {brief(value)}, which is not of the type of the ids.",
        expected,
        "write ids as numbers, without quotes, here and in the list.",
    )


def _unknown(where: str, key: str, value: object, expected: str) -> DataError:
    return DataError(f"{where} has the {key} {brief(value)}.", expected, "correct it.")
