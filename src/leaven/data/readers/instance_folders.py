"""Folder pairs: pictures, and a map of instance numbers of the same name for each."""

from __future__ import annotations

from typing import Any

import torch

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.faults import Faults
from leaven.data.label_maps import stored_values
from leaven.data.readers.box_rows import BoxRows, share, source_of
from leaven.data.readers.class_names import class_names
from leaven.data.readers.instance_maps import instances_of
from leaven.data.readers.mask_folders import check_pictures
from leaven.data.readers.mask_parquet import OBJECT
from leaven.data.readers.picture_sizes import PictureFiles
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
from leaven.data.readers.voc import split_lists
from leaven.errors import DataError
from leaven.labels.classes import Source
from leaven.plain import read_json

INSTANCE_FOLDERS = frozenset({"instances"})
"""The folder names, in lower case, that hold maps of instance numbers."""

DETAILS = "instances.json"
"""The file that says the class of each instance."""

_EXPECTED = (
    '{"a.png": {"1": {"class": "cat", "crowd": false, "score": 1, "weight": 1, '
    '"source": "person"}, ...}, ...}'
)


def read_instance_folders(tree: Tree, labels: Tree) -> AnnotatedListing:
    """Pictures in ``images`` with a PNG of 8 or 16 bits of instance numbers in ``instances``.

    0 is none. ``instances.json`` says the class of each instance, and maybe ``crowd``, ``score``,
    ``weight`` and ``source``, as ``write_instance_maps`` writes it; without it all are of the one
    class of classes.json or classes.txt, else ``object``. A picture without a map has no label.

    Args:
        tree: the folder of the pictures.
        labels: the folder of the maps, often the same.

    Raises:
        DataError: a map belongs to no picture or has another size, or an instance no class.
    """
    photos = tree.photos(labels, INSTANCE_FOLDERS)
    named = labels.root != tree.root
    maps = [name for name in labels.ending(".png") if named or lies_in(name, INSTANCE_FOLDERS)]
    found = PictureFiles.of(tree.root, photos)
    stems = by_stem(photos, IMAGE_FOLDERS, "an instance map")
    files = {
        stem: labels.root / name
        for stem, name in by_stem(maps, INSTANCE_FOLDERS, "a picture").items()
    }
    check_pictures(files, stems, labels.root)
    said = class_names(tree)
    classes = (OBJECT,) if said is None else said.names
    details = _details(tree, classes)
    names = dict(zip(found.files, short_names(found.files), strict=True))
    rows = BoxRows(found.sizes, masks=True)
    known = torch.zeros(len(found.files), dtype=torch.bool)
    place, faults = found.rows, Faults()
    for stem, file in files.items():
        if (picture := stems[stem]) in found.unreadable:
            continue
        row, name = place[picture], names[picture]
        known[row] = True
        said_of = None if details is None else details.get(name, {})
        with faults:
            stored = stored_values(file, str(file))
            things = instances_of(stored, rows.size(row), name, found.root / picture)
            for run, instance, box in zip(*things):
                where = f"The instance {instance} of {name}"
                with faults:
                    believed = _believed(said_of, instance, classes, where)
                    rows.add(row, box, where=where, run=run, **believed)
    faults.check()
    splits = listed_splits(tree, split_lists(tree, "segmentation"), stems)
    return AnnotatedListing(
        name=tree.root.resolve().name,
        sources=found.sources,
        names=list(names.values()),
        splits=[splits.get(name) or split_of_path(name) or "train" for name in found.files],
        classes=classes,
        sizes=found.sizes,
        known=known,
        boxes=rows.labels(known),
        notes=(*found.notes, *rows.notes, *unlisted_note(found.files, splits)),
    )


def _details(tree: Tree, classes: tuple[str, ...]) -> dict[str, Any] | None:
    if DETAILS not in tree.files:
        if len(classes) == 1:
            return None
        raise DataError(
            f"{tree.root} has instance maps and {len(classes)} classes.",
            f"{DETAILS}, which says the class of each instance: {_EXPECTED}",
            "write this file, or name one class.",
        )
    try:
        said = read_json(tree.text(DETAILS))
    except ValueError as error:
        raise _refused(f"{tree.root / DETAILS} is not JSON: {error}.") from error
    if not isinstance(said, dict) or not all(isinstance(one, dict) for one in said.values()):
        raise _refused(f"{tree.root / DETAILS} is JSON of another kind.")
    return said


def _believed(
    said: dict[str, Any] | None, instance: int, classes: tuple[str, ...], where: str
) -> dict[str, Any]:
    """What is believed of an instance, as ``BoxRows.add`` takes it."""
    if said is None:
        return {"label": 0}
    one = said.get(str(instance))
    if not isinstance(one, dict) or one.get("class") not in list(classes):
        raise _refused(f"{where} has no class of the list in {DETAILS}.")
    return {
        "label": classes.index(one["class"]),
        "crowd": one.get("crowd", False) is True,
        "confidence": share(one.get("score", 1), "the score", where),
        "weight": share(one.get("weight", 1), "the weight", where),
        "source": source_of(one["source"], where) if "source" in one else Source.PERSON,
    }


def _refused(found: str) -> DataError:
    return DataError(found, _EXPECTED, "correct the file.")
