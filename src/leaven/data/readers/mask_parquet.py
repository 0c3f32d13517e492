"""Parquet files of pictures with label maps or instance maps."""

from __future__ import annotations

from pathlib import Path

import torch

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.faults import Faults
from leaven.data.label_maps import EncodedMaps, mask_size, other_size, stored_values
from leaven.data.readers.annotated_tables import open_tables
from leaven.data.readers.box_rows import BoxRows
from leaven.data.readers.instance_maps import instances_of
from leaven.data.readers.mask_classes import mask_classes
from leaven.data.sources import Sources
from leaven.errors import DataError
from leaven.plain import brief

OBJECT = "object"
"""The class of instances where nobody named one."""


def read_mask_parquet(path: Path, void: int | None = None) -> AnnotatedListing:
    """The columns ``image``, ``mask`` (an encoded PNG of class values, null where there is no
    label) and maybe ``name``, of a file or of a folder with train.parquet and so on.

    The schema's metadata ``classes`` (a JSON list) names the classes; ``ignore`` (a number) is
    void, as is 255.

    Args:
        path: the file or folder.
        void: the value that says nothing, where the schema does not say it.

    Raises:
        DataError: a column is missing, or a mask has another size than its picture.
    """
    tables = open_tables(path, ["mask"])
    sources, names, splits, sized = tables.pictures()
    masks = Sources(tables.column("mask"), torch.tensor(sized.kept, dtype=torch.int64))
    ignore = tables.metadata("ignore")
    if ignore is not None and (type(ignore) is not int or not 0 <= ignore <= 255):
        raise DataError(
            f"The schema of {tables.files[0]} has ignore: {brief(ignore)}.",
            "a number from 0 to 255",
            "write the file again.",
        )
    known, faults = torch.zeros(len(names), dtype=torch.bool), Faults()
    for item, (name, size) in enumerate(zip(names, sized.sizes.tolist(), strict=True)):
        source = masks[item]
        if isinstance(source, bytes | Path):
            known[item] = True
            with faults:
                if (found := mask_size(source, f"of {name}")) != tuple(size):
                    raise other_size(name, found, size, sources[item])
    faults.check()
    said = mask_classes(tables.classes(), masks, names, ignore if void is None else void)
    return AnnotatedListing(
        name=tables.name,
        sources=sources,
        names=names,
        splits=splits,
        classes=said.classes,
        sizes=sized.sizes,
        known=known,
        maps=EncodedMaps(masks, names, sized.sizes, said.code),
        notes=(*sized.notes, *said.notes),
    )


def read_instance_parquet(path: Path) -> AnnotatedListing:
    """The columns ``image``, ``instances`` (an encoded PNG, 8 or 16 bits, of instance numbers, 0
    for none; null where there is no label) and maybe ``name``.

    All instances are of one class: the one in the schema's metadata ``classes``, else ``object``.

    Raises:
        DataError: a column is missing, a map has another size than its picture or colours, or
            several classes are named.
    """
    tables = open_tables(path, ["instances"])
    sources, names, splits, sized = tables.pictures()
    said = tables.classes()
    classes = (OBJECT,) if said is None else said.names
    if len(classes) > 1:
        raise DataError(
            f"{tables.files[0]} has instance maps and {len(classes)} classes.",
            "one class, for a map does not say which instance is of which",
            "write the instances as COCO JSON.",
        )
    maps = tables.column("instances")
    rows = BoxRows(sized.sizes, masks=True)
    known, faults = torch.zeros(len(names), dtype=torch.bool), Faults()
    for row, item in enumerate(sized.kept):
        source = maps[item]
        if source is None:
            continue
        known[row] = True
        with faults:
            stored = stored_values(source, f"of {names[row]}")
            found = instances_of(stored, rows.size(row), names[row], sources[row])
            for run, number, box in zip(*found):
                rows.add(row, box, 0, f"The instance {number} of {names[row]}", run=run)
    faults.check()
    return AnnotatedListing(
        name=tables.name,
        sources=sources,
        names=names,
        splits=splits,
        classes=classes,
        sizes=sized.sizes,
        known=known,
        boxes=rows.labels(known),
        notes=(*sized.notes, *rows.notes),
    )
