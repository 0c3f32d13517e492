"""The boxes of a picture: as the page shows them, and as the log records them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from leaven.errors import DataError
from leaven.labels import BoxLabels, Masks, Source
from leaven.labels.correction_fields import encoded, run_lengths
from leaven.labels.corrections import Correction
from leaven.review.items import Index

UNCHANGED = 0.01
"""Corners that moved by less, in pixels, stayed where they were."""


def shown_things(index: Index, item: int, evidence: Correction | None) -> list[dict[str, Any]]:
    """The boxes of a picture: those a person said, else those of the round.

    Each is ``{"box", "label", "score", "accepted", "person", "crowd", "mask"}``, the score None where
    a person said it.
    """
    if evidence is not None and evidence.boxes is not None:
        return [
            {
                "box": [float(corner) for corner in one["box"]],
                "label": index.classes.index(one["class"]) if one["class"] in index.classes else -1,
                "score": None,
                "accepted": True,
                "person": True,
                "crowd": False,
                "mask": one["mask"],
            }
            for one in evidence.boxes
        ]
    rows = index.content.labels.select(torch.tensor([item]))
    return [
        {
            "box": box,
            "label": label,
            "score": None if source == int(Source.PERSON) else score,
            "accepted": accepted,
            "person": source == int(Source.PERSON),
            "crowd": crowd,
            "mask": None if rows.masks is None else _mask(rows.masks, row),
        }
        for row, (box, label, score, accepted, source, crowd) in enumerate(
            zip(
                rows.boxes.nan_to_num(0, 0, 0).tolist(),
                rows.classes.tolist(),
                rows.confidence.nan_to_num(0, 0, 0).tolist(),
                rows.accepted.tolist(),
                rows.source.tolist(),
                rows.crowd.tolist(),
            )
        )
    ]


def said_things(
    wanted: Sequence[dict[str, Any]],
    shown: Sequence[dict[str, Any]],
    classes: Sequence[str],
    size: tuple[int, int],
) -> list[dict[str, Any]]:
    """The boxes that a person wants, as the log records them, cut at the rim of the picture.

    A mask goes along with its box: it is moved where the box was moved, and cut where the box became
    smaller. Nothing is added to a mask.

    Args:
        wanted: ``{"box", "class", "from"}``, where ``from`` is the place in ``shown`` that the box
            was made of, or None for a new one.
        shown: see ``shown_things``.
        classes: K class names.
        size: height and width of the picture.

    Raises:
        DataError: a box has no area in the picture, or an unknown class or origin.
    """
    said = []
    for one in wanted:
        if one["class"] not in classes:
            raise DataError(f"There is no class {one['class']!r}.", "one of the run", "choose one")
        origin = one["from"]
        if origin is not None and not 0 <= origin < len(shown):
            raise DataError(
                f"A box was made of box {origin}.", f"one of the {len(shown)} shown", "reload"
            )
        box = _inside(one["box"], size)
        if box is None:
            raise DataError(
                f"A box {one['box']} has no area in the picture of {size[1]} x {size[0]} pixels.",
                "x1 < x2 and y1 < y2 inside the picture",
                "draw it again, or delete it",
            )
        mask = None if origin is None else _taken_along(shown[origin], box)
        said.append({"box": box, "class": one["class"], "mask": mask})
    return said


def accepted_things(
    shown: Sequence[dict[str, Any]], classes: Sequence[str], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """The accepted boxes of a picture as the log records them; what has no area is left out."""
    said = []
    for one in shown:
        box = _inside(one["box"], size)
        if one["accepted"] and not one["crowd"] and one["label"] >= 0 and box is not None:
            said.append({"box": box, "class": classes[one["label"]], "mask": one["mask"]})
    return said


def drawn_things(things: Sequence[dict[str, Any]], size: tuple[int, int]) -> BoxLabels:
    """The boxes of one picture as labels, to be drawn."""
    kept = [one for one in things if one["label"] >= 0]
    masks = None
    if kept and all(one["mask"] is not None and _is_whole(one["mask"], size) for one in kept):
        runs = [one["mask"]["counts"].encode("ascii") for one in kept]
        masks = Masks(runs, torch.tensor([size]).expand(len(runs), 2).contiguous())
    score = torch.tensor([1.0 if one["score"] is None else one["score"] for one in kept])
    return BoxLabels(
        torch.tensor([one["box"] for one in kept], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([one["label"] for one in kept], dtype=torch.int64),
        score,
        torch.tensor([float(one["accepted"]) for one in kept]),
        torch.full((len(kept),), int(Source.MODEL)),
        torch.tensor([len(kept)]),
        torch.tensor([True]),
        torch.tensor([one["crowd"] for one in kept], dtype=torch.bool),
        masks,
    )


def _mask(masks: Masks, row: int) -> dict[str, Any]:
    return {
        "size": masks.sizes[row].tolist(),
        "counts": masks.runs[row].decode("ascii", "replace"),
    }


def _is_whole(mask: dict[str, Any], size: tuple[int, int]) -> bool:
    """Whether a mask has that size and as many pixels; pycocotools trusts what it is given."""
    try:
        return tuple(mask["size"]) == size and sum(run_lengths(mask["counts"])) == size[0] * size[1]
    except DataError:
        return False


def _inside(box: Sequence[float], size: tuple[int, int]) -> list[float] | None:
    """The part of a box in a picture of that height and width; None where there is none."""
    x1, x2 = (min(max(float(value), 0.0), float(size[1])) for value in (box[0], box[2]))
    y1, y2 = (min(max(float(value), 0.0), float(size[0])) for value in (box[1], box[3]))
    return [x1, y1, x2, y2] if x1 < x2 and y1 < y2 else None


def _taken_along(shown: dict[str, Any], box: list[float]) -> dict[str, Any] | None:
    """The mask of a box that was moved or became smaller; None where nothing of it is left."""
    mask, before = shown["mask"], shown["box"]
    if mask is None or not _is_whole(mask, tuple(mask["size"])):
        return None
    moved = [new - old for new, old in zip(box, before)]
    if max(map(abs, moved)) < UNCHANGED:
        return mask
    run, sides = mask["counts"].encode("ascii"), torch.tensor([mask["size"]])
    dense = Masks([run], sides).one(0)
    if abs(moved[0] - moved[2]) < UNCHANGED and abs(moved[1] - moved[3]) < UNCHANGED:
        dense = _shifted(dense, round(moved[1]), round(moved[0]))
    height, width = dense.shape
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    dense &= (columns > box[0]) & (columns < box[2]) & (rows > box[1]) & (rows < box[3])
    return encoded(dense) if bool(dense.any()) else None


def _shifted(mask: Tensor, down: int, right: int) -> Tensor:
    """(H, W) bool, moved; what leaves the picture is gone."""
    height, width = mask.shape
    made = torch.zeros_like(mask)
    if abs(down) >= height or abs(right) >= width:
        return made
    to_rows = slice(max(0, down), height + min(0, down))
    to_columns = slice(max(0, right), width + min(0, right))
    rows = slice(max(0, -down), height + min(0, -down))
    columns = slice(max(0, -right), width + min(0, -right))
    made[to_rows, to_columns] = mask[rows, columns]
    return made
