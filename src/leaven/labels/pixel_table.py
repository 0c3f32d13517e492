"""A class per pixel as a table: one row per picture, a COCO run length for each class in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pycocotools import mask as coco
from torch import Tensor

from leaven.errors import RunError
from leaven.labels.classes import Source
from leaven.labels.pixels import VOID
from leaven.labels.runs import check_size, checked_run
from leaven.labels.stored import check_columns, stored_classes, stored_items

_SOURCES = tuple(source.name.lower() for source in Source)

RUNS = pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())])
"""A COCO mask: ``{"size": [h, w], "counts": "..."}``."""

SEGMENT = pa.struct(
    [("class", pa.string()), ("label", pa.int32()), ("confidence", pa.float32()), ("mask", RUNS)]
)

SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("segments", pa.list_(SEGMENT)),
        ("accepted", RUNS),
        ("confidence", pa.float32()),
        ("weight", pa.float32()),
        ("accepted_share", pa.float32()),
        ("accuracy", pa.float32()),
        ("source", pa.string()),
        ("round", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class PicturePixels:
    """What is believed about the pixels of one picture, in its own size.

    Attributes:
        name: of the picture.
        classes: (h, w) uint8, ``VOID`` where nothing is believed.
        confidence, weight: (h, w) float32 in [0, 1].
        source: who said it.
        accuracy: the share of accepted pixels that is right, None where that is not known.
    """

    name: str
    classes: Tensor
    confidence: Tensor
    weight: Tensor
    source: Source
    accuracy: float | None = None

    @property
    def accepted(self) -> Tensor:
        """(h, w) bool."""
        return (self.weight > 0) & (self.classes != VOID)


def pixel_table(round: int, pictures: Iterator[PicturePixels], classes: Sequence[str]) -> pa.Table:
    """The table of a round; the columns are ``SCHEMA``.

    ``segments`` holds for each class of the picture its pixels and their mean confidence;
    ``accepted`` the pixels that are trusted; ``confidence`` and ``weight`` are means over the
    picture.
    """
    rows = [_row(picture, round, classes) for picture in pictures]
    metadata = {"classes": json.dumps(list(classes)), "round": str(round), "task": "segmentation"}
    return pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))


class PixelRound:
    """A round of label maps, as it was stored; maps are decoded one at a time.

    Args:
        table: of ``pixel_table``.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.classes = stored_classes(table)
        self.names = stored_items(table)
        check_columns(table, SCHEMA)
        for height, width in zip(table["height"].to_pylist(), table["width"].to_pylist()):
            check_size([height, width])

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, number: int) -> PicturePixels:
        """The labels of a picture; each class has its mean confidence everywhere.

        Raises:
            RunError: what is stored of it is damaged.
        """
        row = self.table.slice(number, 1).to_pylist()[0]
        try:
            return self._picture(row)
        except (ValueError, TypeError) as error:
            raise RunError(
                f"The stored labels of {row['item']} are damaged: {error}.",
                "what leaven wrote",
                "Remove the file of the round and resume the run.",
            ) from error

    def _picture(self, row: dict[str, Any]) -> PicturePixels:
        size = (row["height"], row["width"])
        classes, confidence = torch.full(size, VOID, dtype=torch.uint8), torch.zeros(size)
        for segment in row["segments"]:
            mask = torch.from_numpy(coco.decode(checked_run(segment["mask"], size))).bool()
            label, sure = segment["label"], segment["confidence"]
            if not 0 <= label < len(self.classes) or not 0 <= sure <= 1:
                raise ValueError(f"a segment of the class {label}, {sure} sure")
            classes[mask], confidence[mask] = label, sure
        weight = torch.from_numpy(coco.decode(checked_run(row["accepted"], size))).float()
        source = Source(_SOURCES.index(row["source"]))
        return PicturePixels(row["item"], classes, confidence, weight, source, row["accuracy"])


def _row(picture: PicturePixels, round: int, classes: Sequence[str]) -> dict[str, object]:
    height, width = picture.classes.shape
    present = picture.classes.unique()
    present = present[present != VOID]
    if len(present) and int(present.max()) >= len(classes):
        raise ValueError(f"class {int(present.max())} where there are {len(classes)}")
    masks = picture.classes[..., None] == present
    runs = coco.encode(np.asfortranarray(masks.to(torch.uint8).numpy())) if len(present) else []
    area = masks.sum((0, 1))
    confidence = (picture.confidence[..., None] * masks).sum((0, 1)) / area
    segments = [
        {"class": classes[label], "label": label, "confidence": sure, "mask": _text(run)}
        for label, sure, run in zip(present.tolist(), confidence.tolist(), runs, strict=True)
    ]
    accepted = picture.accepted
    trusted = coco.encode(np.asfortranarray(accepted.to(torch.uint8).numpy()))
    return {
        "item": picture.name,
        "height": height,
        "width": width,
        "segments": segments,
        "accepted": _text(trusted),
        "confidence": float(picture.confidence.mean()),
        "weight": float(picture.weight.mean()),
        "accepted_share": float(accepted.float().mean()),
        "accuracy": picture.accuracy,
        "source": _SOURCES[int(picture.source)],
        "round": round,
    }


def _text(run: dict[str, object]) -> dict[str, object]:
    counts = run["counts"]
    assert isinstance(counts, bytes)
    return {"size": run["size"], "counts": counts.decode("ascii")}
