"""CVAT's XML, "CVAT for images 1.1"."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

import numpy as np

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
from leaven.data.readers.safe_xml import xml_parts
from leaven.errors import DataError

ROOT = "annotations"
"""The tag of the root."""

_EXPECTED = 'annotations.xml of an export of CVAT in the form "CVAT for images 1.1"'
_LONGEST_SIDE = 1 << 20


@dataclass
class CvatFile:
    """What a file says, one picture after the other.

    Attributes:
        path: the file.
        classes: the labels of the task, in its order; there when the pictures were read.
    """

    path: Path
    classes: tuple[str, ...] = ()
    _updated: str = field(default="", repr=False)

    def pictures(self) -> Iterator[DrawnPicture]:
        """What is said of each picture.

        CVAT does not tell which pictures somebody looked at: each was. Boxes, polygons, ellipses
        and masks are things, tags are classes of the picture.

        Raises:
            DataError: the file is torn, hostile, or of another form.
        """
        for part in xml_parts(self.path, ROOT, _EXPECTED):
            if part.tag == "meta":
                self._read_meta(part)
            elif part.tag == "track":
                raise DataError(
                    f"{self.path} has tracks.", _EXPECTED, "export it as CVAT for images."
                )
            elif part.tag == "image":
                yield self._picture(part)

    def _read_meta(self, meta: Element) -> None:
        named = [label.findtext("name") or "" for label in meta.iter("label")]
        self.classes = tuple(dict.fromkeys(name for name in named if name))
        self._updated = next((found.text or "" for found in meta.iter("updated")), "")

    def _picture(self, image: Element) -> DrawnPicture:
        name = image.get("name", "")
        content = tostring(image, "unicode") + self._updated
        common: dict[str, Any] = {
            "names": (name.replace("\\", "/"),) if name else (),
            "looked": False,
            "where": f"image {image.get('id', '?')} of {self.path.name}",
            "key": hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest(),
        }
        try:
            return DrawnPicture(**common, **_said(image))
        except Unusable as problem:
            return DrawnPicture(**common, problem=problem)


def _said(image: Element) -> dict[str, Any]:
    size = tuple(_side(image.get(side)) for side in ("height", "width"))
    classes, shapes, passed = [], [], []
    for one in image:
        if one.tag == "tag":
            classes.append(_label(one))
        elif one.tag in _PLACES:
            layer = value(one.get("z_order", 0), "z_order")
            place = partial(_PLACES[one.tag], dict(one.attrib))
            shapes.append(Shape(_label(one), place, _is_crowd(one), layer))
        else:
            passed.append(one.tag)
    return {
        "size": size,
        "classes": tuple(dict.fromkeys(classes)),
        "shapes": tuple(shapes),
        "passed": tuple(passed),
    }


def _side(said: str | None) -> int:
    short = said is not None and said.isdecimal() and len(said) <= len(str(_LONGEST_SIDE))
    if said is None or not short or not 1 <= int(said) <= _LONGEST_SIDE:
        raise Unusable("an image without its size", str(said)[:40])
    return int(said)


def _label(one: Element) -> str:
    if not (name := one.get("label", "")):
        raise Unusable("a shape without a class")
    return name


def _is_crowd(one: Element) -> bool:
    said = [
        attribute.text for attribute in one.iter("attribute") if attribute.get("name") == "crowd"
    ]
    return said == ["true"]


def _number(said: dict[str, str], name: str) -> float:
    if name not in said:
        raise Unusable("a shape without a place", name)
    return value(said[name], name)


def _box(said: dict[str, str], size: Size) -> Placed | None:
    x1, y1, x2, y2 = (_number(said, side) for side in ("xtl", "ytl", "xbr", "ybr"))
    angle = value(said.get("rotation", 0), "rotation")
    return rectangle((x1, y1, x2, y2), angle, ((x1 + x2) / 2, (y1 + y2) / 2), size)


def _ellipse(said: dict[str, str], size: Size) -> Placed | None:
    x, y, across, down = (_number(said, part) for part in ("cx", "cy", "rx", "ry"))
    angle = value(said.get("rotation", 0), "rotation")
    return ellipse((x, y), (abs(across), abs(down)), angle, size)


def _polygon(said: dict[str, str], size: Size) -> Placed | None:
    pairs = [pair.split(",") for pair in said.get("points", "").split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise Unusable("a polygon that cannot be", "points that are no pairs")
    corners = [[value(part, "a corner") for part in pair] for pair in pairs]
    return polygon(np.array(corners, dtype=np.float64), size)


def _mask(said: dict[str, str], size: Size) -> Placed | None:
    """Runs of zeros and ones by turns, row by row in a part of the picture."""
    left, top, width, height = (_number(said, side) for side in ("left", "top", "width", "height"))
    whole = all(side == int(side) for side in (left, top, width, height))
    inside = left >= 0 and top >= 0 and left + width <= size[1] and top + height <= size[0]
    if not whole or not inside or width < 1 or height < 1:
        raise Unusable("a mask outside of its picture", f"{left:g}, {top:g}, {width:g}, {height:g}")
    try:
        runs = np.array([int(run) for run in said.get("rle", "").split(",")], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise Unusable("a mask that is damaged", str(error)[:60]) from error
    # Checked one by one, so that no sum of runs can wrap around.
    area = int(width) * int(height)
    if runs.min() < 0 or runs.max() > area or int(runs.sum()) != area:
        raise Unusable("a mask that is damaged", f"runs of {int(runs.sum())} of {area} pixels")
    part = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(int(height), int(width))
    mask = np.zeros(size, dtype=bool)
    mask[int(top) : int(top + height), int(left) : int(left + width)] = part
    return dense(mask, size)


_PLACES = {"box": _box, "ellipse": _ellipse, "polygon": _polygon, "mask": _mask}
