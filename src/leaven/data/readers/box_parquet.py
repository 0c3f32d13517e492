"""Parquet files of pictures with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.faults import Faults
from leaven.data.listing import ordered_classes
from leaven.data.readers.annotated_tables import Tables, column_names, open_tables
from leaven.data.readers.box_rows import BoxRows, number
from leaven.data.readers.class_names import check_names
from leaven.errors import DataError
from leaven.plain import brief

_CATEGORIES = ("category", "categories", "label", "labels", "category_id")
_EXPECTED = (
    "boxes (a list of [x1, y1, x2, y2]) and labels (a list of classes), or objects as Hugging Face "
    "has them, {bbox: [[x, y, width, height], ...], category: [...]}"
)


@dataclass(frozen=True)
class _Objects:
    """What is said of a picture: boxes x1, y1, x2, y2 and a class for each."""

    boxes: list[list[float]]
    labels: list[int | str]


def read_box_parquet(path: Path) -> AnnotatedListing:
    """The columns ``image``, ``boxes`` with ``labels``, or ``objects``, and maybe ``name``.

    ``boxes`` are lists of x1, y1, x2, y2 in pixels, ``labels`` class numbers or names; ``objects``
    has ``bbox`` (x, y, width, height) and ``category``. Null is a picture without a label, an
    empty list one with nothing in it. The classes are the schema's metadata ``classes`` or the
    features that Hugging Face writes; else the distinct labels.

    Raises:
        DataError: a column is missing, a box cannot be, or a label is no class.
    """
    wanted = ["objects"] if "boxes" not in column_names(path) else ["boxes", "labels"]
    tables = open_tables(path, wanted)
    sources, names, splits, sized = tables.pictures()
    values = list(zip(*(tables.values(column) for column in wanted), strict=True))
    said, faults = list[_Objects | None](), Faults()
    for row, item in enumerate(sized.kept):
        with faults:
            said.append(_objects(values[item], names[row]))
    faults.check()
    classes, given = _classes(tables, said)
    rows = BoxRows(sized.sizes, masks=False)
    for row, objects in enumerate(said):
        if objects is None:
            continue
        for order, (box, label) in enumerate(zip(objects.boxes, objects.labels), 1):
            where = f"Box {order} of {names[row]} in {tables.name}"
            with faults:
                rows.add(row, box, _position(label, classes, given, where), where)
    faults.check()
    known = torch.tensor([objects is not None for objects in said], dtype=torch.bool)
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


def _objects(values: Sequence[Any], name: str) -> _Objects | None:
    if any(value is None for value in values):
        return None
    if len(values) == 2:
        boxes, labels = values
        to_corners = False
    else:
        boxes, labels = _of_struct(values[0], name)
        to_corners = True
    if not isinstance(boxes, list) or not isinstance(labels, list) or len(boxes) != len(labels):
        raise DataError(
            f"The row {name} has boxes and labels that do not belong together.",
            _EXPECTED,
            "write as many labels as boxes.",
        )
    return _Objects([_box(box, to_corners, f"A box of {name}") for box in boxes], labels)


def _of_struct(value: Any, name: str) -> tuple[Any, Any]:
    """The boxes and labels of a struct of lists, or of a list of structs."""
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        value = {key: [one.get(key) for one in value] for key in (value[0] if value else ())} or {
            "bbox": [],
            "category": [],
        }
    if isinstance(value, dict) and "bbox" in value:
        for key in _CATEGORIES:
            if key in value:
                return value["bbox"], value[key]
    raise DataError(f"The row {name} has objects of another kind.", _EXPECTED, "rename its parts.")


def _box(box: Any, to_corners: bool, where: str) -> list[float]:
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{where} is {brief(box)}.", _EXPECTED, "write four numbers.")
    a, b, c, d = (number(value, "a number", where) for value in box)
    if to_corners and (c < 0 or d < 0):
        raise DataError(f"{where} is {c:g} by {d:g}.", "sides of at least 0", "correct it.")
    return [a, b, a + c, b + d] if to_corners else [a, b, c, d]


def _classes(tables: Tables, said: list[_Objects | None]) -> tuple[tuple[str, ...], bool]:
    """The classes, and whether the schema named them."""
    if (named := tables.classes()) is not None:
        return named.names, True
    features = tables.metadata("huggingface")
    if (names := _feature_names(features)) is not None:
        check_names(names, f"The schema of {tables.files[0]}")
        return names, True
    labels = [label for objects in said if objects is not None for label in objects.labels]
    if any(not isinstance(label, int | str) or isinstance(label, bool) for label in labels):
        raise DataError(
            f"{tables.files[0]} has labels that are neither numbers nor names.",
            _EXPECTED,
            "correct the labels.",
        )
    classes = ordered_classes(map(str, labels))
    if "" in classes:
        raise DataError(
            f"{tables.files[0]} has an empty label.",
            _EXPECTED,
            "write null for unlabelled pictures.",
        )
    return classes, False


def _feature_names(features: Any) -> tuple[str, ...] | None:
    """The first list ``names`` in the features of Hugging Face."""
    if isinstance(features, dict):
        names = features.get("names")
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
        features = list(features.values())
    if isinstance(features, list):
        return next((found for part in features if (found := _feature_names(part))), None)
    return None


def _position(label: Any, classes: tuple[str, ...], given: bool, where: str) -> int:
    if given and type(label) is int:
        if 0 <= label < len(classes):
            return label
    elif str(label) in classes:
        return classes.index(str(label))
    raise DataError(
        f"{where} has the label {brief(label)}.",
        f"one of {', '.join(classes)}, or its number",
        "correct the labels or the class names.",
    )
