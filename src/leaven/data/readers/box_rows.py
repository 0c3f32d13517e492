"""Boxes as they are read, checked against the sizes of their pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data.listing import some
from leaven.errors import DataError
from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import Source
from leaven.labels.masks import Masks
from leaven.plain import brief

_ROUNDING = 0.05
"""Pixels by which a box may leave its picture through the rounding of what was written."""

SOURCES = {source.name.lower(): source for source in Source}
"""Who said it, by the words that files use."""


class BoxRows:
    """Collects the boxes of ``n`` pictures.

    A box that leaves its picture is clipped, and one without an area is left out; ``notes`` counts
    and names them.

    Args:
        sizes: (n, 2) int64, height and width of the pictures.
        masks: whether every box comes with a mask.
    """

    def __init__(self, sizes: Tensor, *, masks: bool) -> None:
        self._sizes: list[list[int]] = sizes.tolist()
        self._masks = masks
        self._pictures: list[int] = []
        self._boxes: list[list[float]] = []
        self._classes: list[int] = []
        self._believed: list[tuple[float, float, int, bool]] = []
        self._runs: list[bytes] = []
        self._clipped: list[str] = []
        self._empty: list[str] = []

    def size(self, picture: int) -> tuple[int, int]:
        """Height and width of a picture."""
        height, width = self._sizes[picture]
        return height, width

    def add(
        self,
        picture: int,
        box: Sequence[float],
        label: int,
        where: str,
        *,
        run: bytes | None = None,
        crowd: bool = False,
        confidence: float = 1.0,
        weight: float = 1.0,
        source: Source = Source.PERSON,
        said: Sequence[float] | None = None,
    ) -> None:
        """A box x1, y1, x2, y2 in pixels, with its mask as COCO run lengths.

        Args:
            where: which annotation this is, for errors and notes.
            said: the corners as the file has them, for errors, where it counts otherwise.

        Raises:
            DataError: the box is not finite, inverted, or wholly outside the picture.
        """
        height, width = self.size(picture)
        shown = box if said is None else said
        if not all(map(math.isfinite, box)):
            raise _wrong(f"{where} has the box {_corners(shown)}.", "four finite numbers")
        x1, y1, x2, y2 = box
        if x2 < x1 or y2 < y1:
            raise _wrong(
                f"{where} has the box {_corners(shown)}.",
                "x1 <= x2 and y1 <= y2, a width and a height of at least 0",
            )
        check_inside(box, (height, width), f"{where} has the box", shown)
        inner = np.clip(box, 0, (width, height, width, height)).astype(np.float32)
        empty = bool(inner[2] <= inner[0] or inner[3] <= inner[1])
        if empty or (run is not None and not Masks([run], torch.tensor([[height, width]])).area()):
            self._empty.append(where)
            return
        if np.abs(inner - np.asarray(box)).max() > _ROUNDING:
            self._clipped.append(where)
        self._pictures.append(picture)
        self._boxes.append(inner.tolist())
        self._classes.append(label)
        self._believed.append((confidence, weight, int(source), crowd))
        if self._masks:
            assert run is not None
            self._runs.append(run)

    def labels(self, known: Tensor) -> BoxLabels:
        """All boxes, those of one picture in the order in which they came.

        Args:
            known: (n,) bool, whether anybody has said what is in the picture.
        """
        pictures = torch.tensor(self._pictures, dtype=torch.int64)
        order = pictures.argsort(stable=True)
        believed = torch.tensor(self._believed, dtype=torch.float64).reshape(-1, 4)[order]
        boxes = torch.from_numpy(np.array(self._boxes, dtype=np.float32).reshape(-1, 4))
        masks = None
        if self._masks:
            sizes = torch.tensor(self._sizes, dtype=torch.int64).reshape(-1, 2)[pictures]
            masks = Masks(self._runs, sizes).select(order)
        return BoxLabels(
            boxes[order],
            torch.tensor(self._classes, dtype=torch.int64)[order],
            believed[:, 0].float(),
            believed[:, 1].float(),
            believed[:, 2].long(),
            torch.bincount(pictures, minlength=len(self._sizes)),
            known,
            believed[:, 3].bool(),
            masks,
        )

    @property
    def notes(self) -> list[str]:
        """What people should know."""
        notes = []
        if count := len(self._clipped):
            what = (
                "box left its picture and was"
                if count == 1
                else "boxes left their pictures and were"
            )
            notes.append(f"{count} {what} clipped: {some(self._clipped)}.")
        if count := len(self._empty):
            what = "box has no area and was" if count == 1 else "boxes have no area and were"
            notes.append(f"{count} {what} left out: {some(self._empty)}.")
        return notes


def check_inside(
    box: Sequence[float], size: tuple[int, int], found: str, said: Sequence[float] | None = None
) -> None:
    """Refuses what lies wholly outside its picture.

    Args:
        box: the x1, y1, x2, y2 around it.
        size: height and width of the picture.
        found: what it is, for errors.
        said: the corners as the file has them, for errors, where it counts otherwise.

    Raises:
        DataError: it does.
    """
    (x1, y1, x2, y2), (height, width) = box, size
    right, below = x1 >= width + _ROUNDING, y1 >= height + _ROUNDING
    if right or below or x2 <= -_ROUNDING or y2 <= -_ROUNDING:
        raise _wrong(
            f"{found} {_corners(box if said is None else said)}, outside its picture of "
            f"{width}x{height}.",
            "boxes and masks that lie in their pictures, at least in part",
        )


def number(value: Any, what: str, where: str) -> float:
    """``value`` as a finite number.

    Raises:
        DataError: it is none.
    """
    try:
        found = math.nan if isinstance(value, bool | None) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(
            f"{where} has {what} {brief(value)}.", "a finite number", "correct the annotation."
        )
    return found


def share(value: Any, what: str, where: str) -> float:
    """``value`` as a number in [0, 1].

    Raises:
        DataError: it is none.
    """
    found = number(value, what, where)
    if not 0 <= found <= 1:
        raise DataError(f"{where} has {what} {found:g}.", "a number in [0, 1]", "correct it.")
    return found


def source_of(value: Any, where: str) -> Source:
    """The ``Source`` that the word ``value`` names.

    Raises:
        DataError: no such word.
    """
    if not isinstance(value, str) or value not in SOURCES:
        raise DataError(
            f"{where} has the source {brief(value)}.", " or ".join(SOURCES), "correct it."
        )
    return SOURCES[value]


def _corners(box: Sequence[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in box)}) as x1, y1, x2, y2"


def _wrong(found: str, expected: str) -> DataError:
    return DataError(found, expected, "correct or remove it.")
