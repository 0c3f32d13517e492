"""What people drew in a labelling tool, before it is known which picture of ours it is about."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from leaven.data.readers.box_rows import number
from leaven.data.readers.segments import hull, run_of_polygons
from leaven.errors import DataError
from leaven.labels.masks import Masks

Size = tuple[int, int]
"""Height and width."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""

_ELLIPSE_CORNERS = 128


class Unusable(Exception):
    """What is said of one picture cannot be used.

    Args:
        reason: why, in words that are the same for every picture with this trouble.
        detail: the offending value.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)


@dataclass(frozen=True)
class Placed:
    """Where a thing is in its picture.

    Attributes:
        box: around it, cut to the picture.
        run: its pixels as compressed COCO run lengths; None of a rectangle.
        turned: it is the upright rectangle around a turned one.
    """

    box: Box
    run: bytes | None = None
    turned: bool = False


@dataclass(frozen=True)
class Shape:
    """A thing as it was drawn.

    Attributes:
        name: its class.
        place: where it is in a picture of a height and width; None where it has no area there.
            Raises ``Unusable``. Nothing is decoded before it is called.
        crowd: a group, or unclear.
        layer: what lies on a higher one covers what lies on a lower one.
    """

    name: str
    place: Callable[[Size], Placed | None]
    crowd: bool = False
    layer: float = 0


@dataclass(frozen=True)
class DrawnPicture:
    """What a file of a labelling tool says of one picture.

    Attributes:
        names: what the file calls it, the surest first.
        where: the place in the file, for errors.
        own: the name that ``leaven export`` gave along, where there is one.
        state: a person "said" it, "skipped" the picture, or said "nothing" of it so far.
        size: in which it was shown, None where the file does not tell.
        classes: of the whole picture.
        shapes: what was drawn, in order.
        looked: somebody looked at the picture for sure, so that nothing drawn means an empty one.
        key: tells this version of what was said from others.
        changed: when it was said, where the file tells.
        round: of labels that it was about, where the file tells.
        others: how many other people said something of it.
        passed: the kinds of things that were drawn and are neither boxes nor masks.
        problem: why it cannot be used; None where it can.
    """

    names: tuple[str, ...]
    where: str
    own: str | None = None
    state: Literal["said", "skipped", "nothing"] = "said"
    size: Size | None = None
    classes: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    looked: bool = True
    key: str = ""
    changed: datetime | None = None
    round: int | None = None
    others: int = 0
    passed: tuple[str, ...] = ()
    problem: Unusable | None = None

    def check_size(self, size: Size) -> None:
        """Whether it was drawn on a picture of that height and width.

        Raises:
            Unusable: it was not.
        """
        if self.size is not None and self.size != size:
            raise Unusable(
                "drawn on a picture of another size",
                f"{self.size[1]}x{self.size[0]} where the picture is {size[1]}x{size[0]}",
            )


def value(said: Any, what: str) -> float:
    """``said`` as a finite number.

    Raises:
        Unusable: it is none.
    """
    try:
        return number(said, what, "It")
    except DataError as error:
        raise Unusable("a number that is none", error.found) from error


def rectangle(box: Box, angle: float, pivot: tuple[float, float], size: Size) -> Placed | None:
    """A rectangle that is turned by ``angle`` degrees, clockwise, about ``pivot``."""
    x1, y1, x2, y2 = box
    if angle % 360 == 0:
        return _upright(box, size)
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) - pivot
    radians = math.radians(angle)
    turn = np.array(
        [[math.cos(radians), math.sin(radians)], [-math.sin(radians), math.cos(radians)]]
    )
    return _upright(hull([corners @ turn + pivot]), size, turned=True)


def polygon(corners: NDArray[np.float64], size: Size) -> Placed | None:
    """The pixels that pycocotools fills in the polygon (v, 2) of x, y in pixels."""
    try:
        run = run_of_polygons([corners], size, "It")
    except DataError as error:
        raise Unusable("a polygon that cannot be", error.found) from error
    return _of_run(run, size)


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], angle: float, size: Size
) -> Placed | None:
    """An ellipse, as a polygon, turned by ``angle`` degrees, clockwise, about its centre."""
    steps = np.linspace(0, 2 * math.pi, _ELLIPSE_CORNERS, endpoint=False)
    points = np.stack([radii[0] * np.cos(steps), radii[1] * np.sin(steps)], 1)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return polygon(points @ np.array([[cosine, sine], [-sine, cosine]]) + centre, size)


def dense(mask: NDArray[np.bool_], size: Size) -> Placed | None:
    """A mask (H, W) of the whole picture."""
    return _of_run(
        Masks.from_dense(torch.from_numpy(np.ascontiguousarray(mask))[None]).runs[0], size
    )


def _of_run(run: bytes, size: Size) -> Placed | None:
    x1, y1, x2, y2 = Masks([run], torch.tensor([size])).boxes()[0].tolist()
    return Placed((x1, y1, x2, y2), run) if x2 > x1 and y2 > y1 else None


def _upright(box: Box, size: Size, *, turned: bool = False) -> Placed | None:
    height, width = size
    x1, y1 = max(0.0, min(box[0], box[2])), max(0.0, min(box[1], box[3]))
    x2, y2 = min(float(width), max(box[0], box[2])), min(float(height), max(box[1], box[3]))
    return Placed((x1, y1, x2, y2), turned=turned) if x2 > x1 and y2 > y1 else None
