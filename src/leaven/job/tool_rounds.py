"""What people said in a labelling tool, against what a round of labels says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco

from leaven.data.label_maps import BACKGROUND, VOID_NAMES
from leaven.data.readers.drawn import DrawnPicture, Placed, Shape, Size, Unusable
from leaven.labels import LabelStore
from leaven.labels.box_table import BoxRound
from leaven.labels.correction_fields import MOST_BOXES
from leaven.labels.masks import Masks
from leaven.labels.pixel_table import PixelRound
from leaven.labels.pixels import VOID

NEAR = 0.02
"""Pixels that a side of a box may move by the rounding of what was written."""


@dataclass(frozen=True)
class Said:
    """What a person said of a picture, as a correction has it.

    Attributes:
        action: the round was right, or something else is.
        label: the class of the whole picture.
        boxes: the things in it, None where those of the round are meant.
        notes: how often something was done to what was drawn.
    """

    action: Literal["accept", "relabel"]
    label: str | None = None
    boxes: list[dict[str, Any]] | None = None
    notes: Counter[str] = field(default_factory=Counter)


class RoundOfLabels(Protocol):
    """A round of labels that people were shown."""

    @property
    def names(self) -> Sequence[str]:
        """Of its pictures."""

    def said(self, picture: DrawnPicture, item: int) -> Said | None:
        """What ``picture`` says of the item; None where it says nothing.

        Raises:
            Unusable: it cannot be used.
        """


def round_of_labels(store: LabelStore, task: str, number: int) -> RoundOfLabels:
    """The round ``number`` of a run on ``task``.

    Raises:
        RunError: it is not there, or damaged.
    """
    if task == "segmentation":
        return PixelsOfRound(store.read_pixels(number))
    if task in ("detection", "instance"):
        return BoxesOfRound(store.read_boxes(number), masks=task == "instance")
    names, labels, classes, _ = store.read(number)
    return ClassesOfRound(names, labels.classes.tolist(), classes)


@dataclass(frozen=True)
class ClassesOfRound:
    """A class for each picture."""

    names: list[str]
    believed: list[int]
    classes: list[str]

    def said(self, picture: DrawnPicture, item: int) -> Said:
        """Exactly one class is to be said."""
        if not picture.classes:
            raise Unusable("no class of the picture")
        if len(picture.classes) > 1:
            raise Unusable("several classes of one picture", " and ".join(picture.classes[:5]))
        name = _known(picture.classes[0], self.classes)
        notes = Counter({"shapes beside the class": len(picture.shapes)})
        same = self.believed[item] == self.classes.index(name)
        return Said("accept" if same else "relabel", name, notes=+notes)


class BoxesOfRound:
    """Boxes, or boxes with masks.

    A picture is accepted where everything that was drawn is a row of the round, and every row that
    the round accepts is among it. Groups (crowds) stay where the round is accepted whole; else they
    are left out, as a correction has things alone.
    """

    def __init__(self, stored: BoxRound, *, masks: bool) -> None:
        self.names, self._masks, self._classes = stored.names, masks, stored.classes
        self._labels, self._sizes = stored.labels, stored.sizes.tolist()
        ends = stored.labels.counts.cumsum(0).tolist()
        self._rows = [range(a, b) for a, b in zip([0, *ends], ends)]

    def said(self, picture: DrawnPicture, item: int) -> Said | None:
        """The boxes, in pixels of the picture; rows of the round as they are there."""
        height, width = self._sizes[item]
        picture.check_size((height, width))
        known = bool(self._labels.known[item])
        if not (known or picture.looked or picture.shapes):
            return None
        notes: Counter[str] = Counter()
        drawn = _placed(picture.shapes, (height, width), self._classes, notes)
        free = list(self._rows[item])
        runs = {row: self._run(row) for row in free} if self._masks else {}
        boxes, used, groups = [], [], 0
        for shape, placed in drawn:
            row = next((row for row in free if self._same(row, shape.name, placed, runs)), None)
            if row is not None:
                free.remove(row)
                used.append(row)
            if shape.crowd if row is None else bool(self._labels.crowd[row]):
                groups += 1
            else:
                boxes.append(self._box(shape.name, placed, (height, width), row, notes))
        weights = self._labels.weight
        kept = len(used) == len(drawn) and not any(bool(weights[row] > 0) for row in free)
        whole = kept and known and not free and all(bool(weights[row] > 0) for row in used)
        if groups and not whole:
            notes["groups, which corrections cannot hold and which were left out"] += groups
        if not kept or not (known or drawn):
            return Said("relabel", boxes=boxes, notes=+notes)
        return Said("accept", boxes=None if whole else boxes, notes=+notes)

    def _same(self, row: int, name: str, placed: Placed, runs: dict[int, bytes]) -> bool:
        if self._classes[int(self._labels.classes[row])] != name:
            return False
        if self._masks:
            return placed.run is not None and runs[row] == placed.run
        own = self._labels.boxes[row].tolist()
        return all(abs(a - b) <= NEAR for a, b in zip(own, placed.box, strict=True))

    def _run(self, row: int) -> bytes:
        assert self._labels.masks is not None
        # There are several run lengths for one mask.
        return Masks.from_dense(self._labels.masks.one(row)[None]).runs[0]

    def _box(
        self, name: str, placed: Placed, size: Size, row: int | None, notes: Counter[str]
    ) -> dict[str, Any]:
        box = list(placed.box) if row is None else self._labels.boxes[row].tolist()
        run = placed.run if self._masks else None
        if self._masks and run is None:
            notes["boxes without a mask, which count as filled"] += 1
        elif not self._masks and placed.run is not None:
            notes["outlines and strokes, of which the box around them was taken"] += 1
        return {"box": box, "class": name, "mask": None if run is None else _mask(run, size)}


class PixelsOfRound:
    """A class for each pixel.

    A picture is accepted where every pixel that the round accepts has its class, and the others
    have the class of the round or none. What nothing was drawn on is ``background`` where there is
    such a class and it was shown so, or something else was there; else nothing is said of it, as
    where ``void`` was drawn.
    """

    def __init__(self, stored: PixelRound) -> None:
        self.names, self._stored, self._classes = stored.names, stored, stored.classes

    def said(self, picture: DrawnPicture, item: int) -> Said | None:
        """The masks of the classes, that of the background among them."""
        believed = self._stored.picture(item)
        height, width = believed.classes.shape
        picture.check_size((height, width))
        notes: Counter[str] = Counter()
        drawn = np.full((height, width), VOID, dtype=np.uint8)
        unsaid = np.zeros((height, width), dtype=bool)
        shapes = sorted(picture.shapes, key=lambda shape: shape.layer)
        names = [*self._classes, *VOID_NAMES]
        for shape, placed in _placed(shapes, (height, width), names, notes):
            pixels, void = _pixels(placed, (height, width), notes), shape.name in VOID_NAMES
            drawn[pixels] = VOID if void else self._classes.index(shape.name)
            unsaid[pixels] = void
        shown, accepted = believed.classes.numpy(), believed.accepted.numpy()
        if BACKGROUND in self._classes:
            self._fill(drawn, shown, accepted, unsaid)
        if (drawn == VOID).all():
            return None
        # Of a pixel that is not accepted a person may say nothing.
        right = (drawn == shown) | ((drawn == VOID) & ~accepted)
        if not right.all():
            return Said("relabel", boxes=self._boxes(drawn), notes=+notes)
        whole = bool((drawn == shown).all()) and bool((accepted | (shown == VOID)).all())
        return Said("accept", boxes=None if whole else self._boxes(drawn), notes=+notes)

    def _fill(
        self,
        drawn: NDArray[np.uint8],
        shown: NDArray[np.uint8],
        accepted: NDArray[np.bool_],
        unsaid: NDArray[np.bool_],
    ) -> None:
        """Says ``background`` where nothing was drawn on what was shown, not even void."""
        background = self._classes.index(BACKGROUND)
        doubtful = ~accepted & (shown != VOID) & (shown != background)
        # Where none of it was drawn, only what is accepted was shown.
        whole = bool((drawn[doubtful] == shown[doubtful]).any()) or not doubtful.any()
        seen = shown != VOID if whole else accepted
        drawn[(drawn == VOID) & seen & ~unsaid] = background

    def _boxes(self, drawn: NDArray[np.uint8]) -> list[dict[str, Any]]:
        height, width = drawn.shape
        boxes = []
        for value in np.unique(drawn[drawn != VOID]).tolist():
            mask = Masks.from_dense(torch.from_numpy(drawn == value)[None])
            boxes.append(
                {
                    "box": mask.boxes()[0].tolist(),
                    "class": self._classes[value],
                    "mask": _mask(mask.runs[0], (height, width)),
                }
            )
        return boxes


def _placed(
    shapes: Sequence[Shape], size: Size, classes: Sequence[str], notes: Counter[str]
) -> list[tuple[Shape, Placed]]:
    if len(shapes) > MOST_BOXES:
        raise Unusable(f"more than {MOST_BOXES} things in a picture", str(len(shapes)))
    found = []
    for shape in shapes:
        _known(shape.name, classes)
        placed = shape.place(size)
        if placed is None:
            notes["shapes without an area in their picture, which were left out"] += 1
            continue
        if placed.turned:
            notes["turned boxes, of which the upright box around them was taken"] += 1
        found.append((shape, placed))
    return found


def _pixels(placed: Placed, size: Size, notes: Counter[str]) -> NDArray[np.bool_]:
    if placed.run is not None:
        pixels: NDArray[np.bool_] = coco.decode({"size": list(size), "counts": placed.run}) > 0
        return pixels
    notes["boxes, which count as filled"] += 1
    x1, y1, x2, y2 = (round(side) for side in placed.box)
    filled = np.zeros(size, dtype=bool)
    filled[y1:y2, x1:x2] = True
    return filled


def _known(name: str, classes: Sequence[str]) -> str:
    if name not in classes:
        raise Unusable("a class that the run does not have", name)
    return name


def _mask(run: bytes, size: Size) -> dict[str, Any]:
    return {"size": list(size), "counts": run.decode("ascii")}
