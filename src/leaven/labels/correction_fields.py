"""What the fields of a correction may be; everything that comes from outside is checked here."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Literal, get_args

import torch
from pycocotools import mask as coco

from leaven.errors import DataError, nearest
from leaven.labels.masks import Masks

Action = Literal["accept", "reject", "relabel", "skip", "undo"]
_ACTIONS = get_args(Action)

LONGEST_NAME, LONGEST_TOKEN, MOST_BOXES = 4096, 256, 10_000
"""Characters of a name and of a token, boxes of a picture."""

LONGEST_SIDE, MOST_PIXELS = 1 << 20, 1 << 31
"""Of a picture. pycocotools counts in 32 bits."""

_REQUIRED = {
    "id", "time", "item", "action", "label", "boxes", "round", "by", "undoes", "token",
}  # fmt: skip
_BOX = {"box", "class", "mask"}
_COMPARED = 20_000


def check_fields(fields: Mapping[str, Any]) -> None:
    """Whether these are the fields of a correction.

    Raises:
        DataError: one is missing, unknown, or not what it should be.
    """
    if set(fields) != _REQUIRED:
        odd = sorted(map(str, _REQUIRED.symmetric_difference(fields)))
        _refuse(f"The fields {', '.join(odd)} are missing or too many.", "those of a correction")
    if fields["action"] not in _ACTIONS:
        _refuse(f"The action is {_short(fields['action'])}.", f"one of {', '.join(_ACTIONS)}")
    _check_whole("id", fields["id"], 1)
    _check_whole("round", fields["round"], 0)
    _check_text("item", fields["item"], LONGEST_NAME)
    _check_text("by", fields["by"], LONGEST_TOKEN)
    _check_time(fields["time"])
    for name, longest in (("label", LONGEST_NAME), ("token", LONGEST_TOKEN)):
        if fields[name] is not None:
            _check_text(name, fields[name], longest)
    if fields["boxes"] is not None:
        check_boxes(fields["boxes"])
    action, undoes = fields["action"], fields["undoes"]
    if action == "undo":
        _check_whole("undoes", undoes, 1)
    elif undoes is not None:
        _refuse(f"The action {action!r} undoes {_short(undoes)}.", "an undo, or undoes as null")
    if action == "relabel" and fields["label"] is None and fields["boxes"] is None:
        _refuse("A relabel gives neither a label nor boxes.", "what is right: a class or boxes")


def check_class(name: str, classes: Sequence[str]) -> None:
    """Whether the run has that class.

    Raises:
        DataError: it has not.
    """
    if name not in classes:
        raise DataError(
            f"The run has no class {_short(name)}.",
            f"one of its {len(classes)} classes",
            nearest(name, classes),
        )


def check_item(name: str, items: Collection[str]) -> None:
    """Whether the run has labelled that picture.

    Raises:
        DataError: it has not.
    """
    if name in items:
        return
    # Of a million names only those of the same file are compared, or some.
    same = [one for one in items if one.rpartition("/")[2] == name.rpartition("/")[2]]
    close = get_close_matches(name, same or sorted(items)[:_COMPARED], cutoff=0.5) or same[:3]
    raise DataError(
        f"The labels of the run have no picture {_short(name)}.",
        f"the name of one of the {len(items)} that they are of, as labels/*.parquet has it",
        f"Did you mean {' or '.join(map(_short, close))}?" if close else "look the name up there",
    )


def check_boxes(boxes: Any) -> None:
    """Whether these are boxes: lists of ``{"box", "class", "mask"}``.

    Raises:
        DataError: one of them is not.
    """
    if not isinstance(boxes, list | tuple) or len(boxes) > MOST_BOXES:
        _refuse(f"boxes is {_short(boxes)}.", f"a list of at most {MOST_BOXES} boxes, or null")
    for box in boxes:
        if not isinstance(box, Mapping) or set(box) != _BOX:
            _refuse(f"A box is {_short(box)}.", "an object with box, class and mask")
        _check_text("the class of a box", box["class"], LONGEST_NAME)
        _check_corners(box["box"])
        if box["mask"] is not None:
            _check_mask(box["mask"])


def _check_corners(corners: Any) -> None:
    right = isinstance(corners, list | tuple) and len(corners) == 4
    right = right and all(_is_number(value) for value in corners)
    if not right or not all(0 <= value <= LONGEST_SIDE for value in corners):
        _refuse(f"The corners of a box are {_short(corners)}.", "[x1, y1, x2, y2] in pixels")
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        _refuse(f"A box {_short(corners)} has no area.", "x1 < x2 and y1 < y2")


def _check_mask(mask: Any) -> None:
    whole = isinstance(mask, Mapping) and set(mask) == {"size", "counts"}
    size: Any = mask["size"] if whole else None
    right = isinstance(size, list | tuple) and len(size) == 2
    right = right and all(_is_whole(side) and 1 <= side <= LONGEST_SIDE for side in size)
    if not right or size[0] * size[1] >= MOST_PIXELS or not isinstance(mask["counts"], str):
        _refuse(f"A mask is {_short(mask)}.", 'COCO run lengths {"size": [h, w], "counts": text}')
    if sum(run_lengths(mask["counts"])) != size[0] * size[1]:
        _refuse(
            f"The runs of a mask {_short(mask)} do not make {size[0]} x {size[1]} pixels.",
            "compressed COCO run lengths of that size",
        )


def run_lengths(text: str) -> list[int]:
    """The runs of compressed COCO run lengths; pycocotools itself writes past its buffer where
    they are wrong, so they are counted before it sees them.

    Raises:
        DataError: the text is cut, or holds what is none, or a run is negative.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            _refuse(f"A mask of the runs {_short(text)}.", "compressed COCO run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            _refuse(f"A mask has a run of {value} pixels.", "compressed COCO run lengths")
        runs.append(value)
        value = shift = 0
    if shift:
        _refuse(f"A mask of the runs {_short(text)} is cut.", "compressed COCO run lengths")
    return runs


def masks_of(boxes: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Masks:
    """The masks of checked ``boxes`` of a picture of that height and width; where a box has none,
    its rectangle.

    Raises:
        DataError: a mask has another size.
    """
    runs = []
    for box in boxes:
        mask = box["mask"]
        if mask is None:
            x1, y1, x2, y2 = box["box"]
            drawn = torch.zeros(1, *size, dtype=torch.bool)
            drawn[:, round(y1) : round(y2), round(x1) : round(x2)] = True
            runs.append(Masks.from_dense(drawn).runs[0])
            continue
        if tuple(mask["size"]) != size:
            _refuse(
                f"A mask of {mask['size'][0]} x {mask['size'][1]} pixels on a picture of "
                f"{size[0]} x {size[1]}.",
                "masks in the size of the picture as it was found",
            )
        runs.append(mask["counts"].encode("ascii"))
    return Masks(runs, torch.tensor([size]).expand(len(runs), 2).contiguous())


def encoded(mask: torch.Tensor) -> dict[str, Any]:
    """(H, W) bool as the mask of a box: ``{"size": [h, w], "counts": text}``."""
    import numpy as np

    runs = coco.encode(np.asfortranarray(mask.cpu().to(torch.uint8).numpy()))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}


def _check_whole(name: str, value: Any, least: int) -> None:
    if not _is_whole(value) or value < least:
        _refuse(f"{name} is {_short(value)}.", f"a whole number, {least} or more")


def _check_text(name: str, value: Any, longest: int) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        _refuse(f"{name} is {_short(value)}.", f"a text of 1 to {longest} characters")


def _check_time(value: Any) -> None:
    try:
        if isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None:
            return
    except ValueError:
        pass
    _refuse(f"time is {_short(value)}.", "ISO 8601 with its zone, as 2026-01-31T12:00:00+00:00")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse(found: str, expected: str) -> None:
    raise DataError(found, expected, "give the correction again, mended")
