"""COCO segments, polygons and run lengths, as checked masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from leaven.data.readers.box_rows import check_inside, number
from leaven.errors import DataError
from leaven.labels.runs import lengths_of
from leaven.plain import brief

_FAR = 10
"""How many times the longer side of its picture a corner of a polygon may lie away from it."""


def run_of_segment(segment: Any, size: tuple[int, int], where: str) -> bytes:
    """The compressed run lengths of a ``segmentation``: polygons, run lengths, or compressed ones.

    Polygons are filled as pycocotools does; of several, the union is taken.

    Args:
        segment: what the annotation says.
        size: height and width of the picture.
        where: which annotation this is, for errors.

    Raises:
        DataError: it is none of these, made for a picture of another size, or outside it.
    """
    if isinstance(segment, dict):
        return _run_of_counts(segment, size, where)
    if not isinstance(segment, list) or not segment:
        raise _refused(where, "has no segmentation", "polygons or run lengths")
    parts = segment if all(isinstance(part, list) for part in segment) else [segment]
    return run_in_picture([_corners(part, where) for part in parts], size, where)


def run_of_polygons(
    polygons: Sequence[NDArray[np.float64]], size: tuple[int, int], where: str
) -> bytes:
    """The compressed run lengths of the union of ``polygons``, each (v, 2) of x, y in pixels.

    Raises:
        DataError: a polygon has less than three corners, or lies far outside the picture.
    """
    reach = _FAR * max(size)
    for polygon in polygons:
        if len(polygon) < 3:
            raise _refused(where, f"has a polygon of {len(polygon)} corners", "at least three")
        # The time and memory that filling takes grow with the length of the outline.
        if np.abs(polygon).max() > reach:
            raise _refused(
                where,
                f"has a polygon with a corner at {np.abs(polygon).max():g}, far outside its picture "
                f"of {size[1]}x{size[0]}",
                "corners in or near the picture",
            )
    made = coco.frPyObjects([polygon.reshape(-1).tolist() for polygon in polygons], *size)
    # Filling may leave runs of no length; a union of two masks has none.
    merged: bytes = coco.merge([*made, made[0]])["counts"]
    return merged


def run_in_picture(
    polygons: Sequence[NDArray[np.float64]], size: tuple[int, int], where: str
) -> bytes:
    """As ``run_of_polygons``; polygons wholly outside the picture are refused, as boxes are.

    Raises:
        DataError: they are so, or cannot be.
    """
    run = run_of_polygons(polygons, size, where)
    if not coco.area({"size": list(size), "counts": run}):
        what = "a polygon" if len(polygons) == 1 else "polygons"
        check_inside(hull(polygons), size, f"{where} has {what} within")
    return run


def hull(polygons: Sequence[NDArray[np.float64]]) -> tuple[float, float, float, float]:
    """The x1, y1, x2, y2 around all corners of ``polygons``."""
    corners = np.concatenate(polygons)
    x1, y1 = corners.min(0).tolist()
    x2, y2 = corners.max(0).tolist()
    return x1, y1, x2, y2


def _corners(part: list[Any], where: str) -> NDArray[np.float64]:
    if len(part) % 2:
        raise _refused(where, f"has a polygon of {len(part)} numbers", "x and y of each corner")
    values = [number(value, "a corner at", where) for value in part]
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def _run_of_counts(segment: dict[str, Any], size: tuple[int, int], where: str) -> bytes:
    if segment.get("size") != list(size):
        raise _refused(
            where,
            f"has run lengths for the size {brief(segment.get('size'))}; its picture has the size "
            f"[{size[0]}, {size[1]}]",
            "height and width of the picture",
        )
    counts = segment.get("counts")
    if isinstance(counts, str):
        letters = counts.encode("utf-8", "replace")
        # pycocotools reads past the picture where the runs do, so they are checked before.
        try:
            counts = lengths_of(letters)
        except ValueError as error:
            raise _refused(where, f"has {error}", "COCO's compressed run lengths") from error
        _check_counts(counts, size, where)
        return letters
    if not isinstance(counts, list) or not all(type(count) is int for count in counts):
        raise _refused(
            where, "has run lengths that are no whole numbers", "a list of whole numbers"
        )
    _check_counts(counts, size, where)
    packed: bytes = coco.frPyObjects({"size": list(size), "counts": counts}, *size)["counts"]
    return packed


def _check_counts(counts: Sequence[int], size: tuple[int, int], where: str) -> None:
    if min(counts, default=0) < 0 or sum(counts) != math.prod(size):
        raise _refused(
            where,
            f"has run lengths of {sum(counts)} pixels in all; its picture has {math.prod(size)}"
            if min(counts, default=0) >= 0
            else "has a run length below zero",
            "run lengths of all pixels of the picture",
        )


def _refused(where: str, problem: str, expected: str) -> DataError:
    return DataError(f"{where} {problem}.", expected, "correct or remove the annotation.")
