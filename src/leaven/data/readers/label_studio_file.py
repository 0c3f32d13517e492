"""Label Studio's JSON: tasks with what people said of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from leaven.data.formats.brush import brush_mask
from leaven.data.readers.drawn import (
    DrawnPicture,
    Placed,
    Shape,
    Size,
    Unusable,
    dense,
    ellipse,
    polygon,
    rectangle,
    value,
)
from leaven.data.readers.drawn_names import is_picture, paths_of
from leaven.errors import DataError
from leaven.plain import brief, read_json

LARGEST_FILE = 1 << 31
"""Bytes of JSON that are read at once."""

_EXPECTED = (
    'an export of Label Studio in the form "JSON": a list of tasks with data and annotations'
)
_DRAWN = ("brushlabels", "ellipselabels", "labels", "polygonlabels", "rectanglelabels")
_BARE = ("brush", "ellipse", "polygon", "rectangle")
_NOT_READ = ("bitmask", "bitmasklabels", "vector", "vectorlabels")
_LONGEST_SIDE = 1 << 20

Entry = Mapping[str, Any]


def label_studio_pictures(path: Path) -> Iterator[DrawnPicture]:
    """What the tasks of a file say, one after the other.

    Of several annotations of a task, the one that is marked as ground truth is taken, else the one
    that was changed last; cancelled ones say nothing. Rectangles, polygons, ellipses and brush
    strokes are things; ``choices`` are classes of the picture. Percent are of the width and height
    that the annotation itself names.

    Raises:
        DataError: the file is too large, torn, or of another form.
    """
    for order, task in enumerate(_tasks(path), 1):
        data = task["data"]
        name, number = data.get("name"), data.get("round")
        addresses = [said for said in data.values() if isinstance(said, str) and is_picture(said)]
        names = [one for address in addresses for one in paths_of(address)]
        if isinstance(name, str):
            names.insert(0, name)
        yield _picture(
            task,
            names=tuple(dict.fromkeys(names)),
            own=name if isinstance(name, str) else None,
            where=f"task {brief(task.get('id', order))} of {path.name}",
            round=number if type(number) is int else None,
        )


def _tasks(path: Path) -> list[dict[str, Any]]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE >> 20} MiB; export it in parts")
        said = read_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as JSON: {error}.", _EXPECTED, "export it again."
        ) from error
    tasks = said if isinstance(said, list) else [said]
    found = [_of_storage(task) for task in tasks]
    wrong = [
        order
        for order, task in enumerate(found, 1)
        if not isinstance(task, dict)
        or not isinstance(task.get("data"), dict)
        or not isinstance(task.get("annotations", task.get("completions", [])), list)
    ]
    if wrong or not found:
        what = f"entry {wrong[0]} of {path} is no task" if wrong else f"{path} has no task"
        raise DataError(
            f"{what[0].upper()}{what[1:]} of Label Studio.",
            _EXPECTED,
            "export the project as JSON; JSON_MIN, CSV, COCO and the others leave out what is "
            "needed here.",
        )
    return found


def _of_storage(task: Any) -> Any:
    """The task of a file of a target storage, where an annotation holds its task."""
    if not isinstance(task, dict) or "data" in task or not isinstance(task.get("task"), dict):
        return task
    annotation = {key: said for key, said in task.items() if key != "task"}
    return {**task["task"], "annotations": [annotation]}


def _picture(task: Entry, **known: Any) -> DrawnPicture:
    given = task.get("annotations", task.get("completions", []))
    annotations = [one for one in given if isinstance(one, dict)]
    valid = [one for one in annotations if not one.get("was_cancelled")]
    if not valid:
        state: Literal["skipped", "nothing"] = "skipped" if annotations else "nothing"
        return DrawnPicture(**known, state=state, key=_key(annotations))
    chosen = max(
        enumerate(valid), key=lambda one: (bool(one[1].get("ground_truth")), _time(one[1]), one[0])
    )[1]
    changed = _time(chosen)
    common = {
        **known,
        "key": _key([chosen]),
        "changed": changed if changed > _LONG_AGO else None,
        "others": len(valid) - 1,
    }
    results = chosen.get("result")
    try:
        if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
            raise Unusable("an annotation without a list of results")
        return DrawnPicture(**common, **_said(results))
    except Unusable as problem:
        return DrawnPicture(**common, problem=problem)


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _time(annotation: Entry) -> datetime:
    for field in ("updated_at", "created_at"):
        try:
            found = datetime.fromisoformat(annotation[field])
        except (KeyError, TypeError, ValueError):
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return _LONG_AGO


def _key(annotations: Sequence[Entry]) -> str:
    """The ids of the annotations, when they were changed, and what they say, as one number."""
    told = [
        [one.get(name) for name in ("id", "updated_at", "was_cancelled", "result")]
        for one in annotations
    ]
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _said(results: Sequence[Entry]) -> dict[str, Any]:
    classes: list[str] = []
    shapes: list[Shape] = []
    passed: list[str] = []
    sizes: set[Size] = set()
    own = [one.get("id") for one in results if one.get("type") in _DRAWN]
    labelled = {name for name in own if isinstance(name, str)}
    for one in results:
        kind = one.get("type")
        where = one.get("value")
        if not isinstance(kind, str) or not isinstance(where, dict):
            passed.append("relation" if kind == "relation" else "result without a value")
            continue
        geometry = _geometry(where)
        if kind == "choices" and geometry is None:
            classes += _names(where, kind)
        elif kind in _BARE and isinstance(one.get("id"), str) and one["id"] in labelled:
            continue
        elif kind in _DRAWN or kind in _BARE:
            if geometry is None:
                raise Unusable("a shape without a place", kind)
            size = _size(one)
            sizes.add(size)
            shapes.append(_shape(_names(where, kind), geometry, where, size, one))
        elif kind in _NOT_READ:
            # Without them the picture would seem to have been emptied.
            raise Unusable("a kind of region that is not read", kind)
        else:
            passed.append(kind if kind != "choices" else "choices of a region")
    if len(sizes) > 1:
        raise Unusable("shapes on pictures of several sizes", " and ".join(map(str, sorted(sizes))))
    return {
        "classes": tuple(dict.fromkeys(classes)),
        "shapes": tuple(shapes),
        "passed": tuple(passed),
        "size": next(iter(sizes), None),
    }


def _names(where: Entry, kind: str) -> list[str]:
    found = where.get(kind, where.get("labels", []))
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise Unusable("classes that are no list of names", kind)
    return found


def _size(one: Entry) -> Size:
    sides = one.get("original_height"), one.get("original_width")
    if not all(type(side) is int and 1 <= side <= _LONGEST_SIDE for side in sides):
        raise Unusable("a shape without the size of its picture", brief(sides))
    if one.get("image_rotation") not in (None, 0, 360):
        raise Unusable("a picture that was turned", f"by {brief(one['image_rotation'])} degrees")
    return sides[0], sides[1]  # type: ignore[return-value]


def _geometry(where: Entry) -> str | None:
    """What a value draws, by the fields that it has."""
    for kind, fields in (
        ("brush", ("rle",)),
        ("polygon", ("points",)),
        ("ellipse", ("x", "y", "radiusX", "radiusY")),
        ("rectangle", ("x", "y", "width", "height")),
    ):
        if all(field in where for field in fields):
            return kind
    return None


def _shape(names: Sequence[str], kind: str, where: Entry, size: Size, one: Entry) -> Shape:
    if len(names) != 1:
        raise Unusable("a shape without a class" if not names else "a shape of several classes")
    meta = one.get("meta")
    crowd = isinstance(meta, dict) and meta.get("crowd") is True
    return Shape(names[0], partial(_PLACES[kind], where), crowd)


def _rectangle(where: Entry, size: Size) -> Placed | None:
    x, y, width, height = (
        value(where[side], side) * of / 100
        for side, of in (("x", size[1]), ("y", size[0]), ("width", size[1]), ("height", size[0]))
    )
    angle = value(where.get("rotation", 0), "rotation")
    return rectangle((x, y, x + width, y + height), angle, (x, y), size)


def _ellipse(where: Entry, size: Size) -> Placed | None:
    x, y, across, down = (
        value(where[side], side) * of / 100
        for side, of in (("x", size[1]), ("y", size[0]), ("radiusX", size[1]), ("radiusY", size[0]))
    )
    return ellipse((x, y), (across, down), value(where.get("rotation", 0), "rotation"), size)


def _polygon(where: Entry, size: Size) -> Placed | None:
    points = where["points"]
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 for point in points
    ):
        raise Unusable("a polygon that cannot be", "points that are no pairs")
    corners = [[value(part, "a corner") for part in point] for point in points]
    scaled = np.array(corners, dtype=np.float64).reshape(-1, 2) * (size[1] / 100, size[0] / 100)
    # Corners on pixels come back as what they were before they were per cent.
    near = np.rint(scaled)
    return polygon(np.where(np.abs(scaled - near) < 1e-6, near, scaled), size)


def _brush(where: Entry, size: Size) -> Placed | None:
    if where.get("format", "rle") != "rle" or not isinstance(where["rle"], list):
        raise Unusable("a brush stroke that is not of run lengths", brief(where.get("format")))
    try:
        return dense(brush_mask(where["rle"], size), size)
    except (TypeError, ValueError) as error:
        raise Unusable("a brush stroke that is damaged", str(error)) from error


_PLACES = {"brush": _brush, "polygon": _polygon, "ellipse": _ellipse, "rectangle": _rectangle}
