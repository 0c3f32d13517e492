"""Boxes and masks as a table: one row per thing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import Source
from leaven.labels.masks import Masks
from leaven.labels.pixel_table import RUNS
from leaven.labels.runs import check_size, checked_run
from leaven.labels.stored import check_indices, check_shares, stored_classes, stored_items

_SOURCES = tuple(source.name.lower() for source in Source)

SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("known", pa.bool_()),
        ("class", pa.string()),
        ("label", pa.int32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("score", pa.float32()),
        ("weight", pa.float32()),
        ("accepted", pa.bool_()),
        ("crowd", pa.bool_()),
        ("mask", RUNS),
        ("source", pa.string()),
        ("round", pa.int32()),
    ]
)


@dataclass(frozen=True)
class BoxRound:
    """A round of boxes: n names, their labels in pixels of the pictures as they were found, (n, 2)
    heights and widths, and the class names."""

    names: list[str]
    labels: BoxLabels
    sizes: Tensor
    classes: list[str]


def box_table(
    round: int, names: Sequence[str], labels: BoxLabels, sizes: Tensor, classes: Sequence[str]
) -> pa.Table:
    """The table of a round; the columns are ``SCHEMA``.

    A picture without things has one row in which all that is said of a thing is null; ``known``
    tells whether somebody looked at it.
    """
    labels = labels.cpu()
    if len(names) != len(labels) or len(sizes) != len(labels):
        raise ValueError(f"{len(labels)} labels with {len(names)} names, {len(sizes)} sizes")
    if len(labels.classes) and int(labels.classes.max()) >= len(classes):
        raise ValueError(f"class {int(labels.classes.max())} where there are {len(classes)}")
    # The rows of empty pictures are woven in: row -1 is null.
    counts = labels.counts.clamp_min(1)
    picture = torch.repeat_interleave(counts).numpy()
    row = torch.full((int(counts.sum()),), -1)
    row[(labels.counts > 0).repeat_interleave(counts)] = torch.arange(len(labels.boxes))
    empty = (row < 0).numpy()
    thing = row.clamp_min(0)

    def of_things(values: Tensor, kind: pa.DataType) -> pa.Array:
        taken = values[thing] if len(values) else values.new_zeros(len(thing))
        return pa.array(taken.numpy(), type=kind, mask=empty)

    label = of_things(labels.classes.int(), pa.int32())
    corners = [of_things(labels.boxes[:, k], pa.float32()) for k in range(4)]
    source = of_things(labels.source.int(), pa.int32())
    high, wide = sizes.int().numpy().T
    columns = [
        pa.array(np.asarray(names, dtype=object)[picture], pa.string()),
        pa.array(high[picture]),
        pa.array(wide[picture]),
        pa.array(labels.known.numpy()[picture]),
        pa.DictionaryArray.from_arrays(label, pa.array(list(classes), pa.string())).cast(
            pa.string()
        ),
        label,
        *corners,
        of_things(labels.confidence, pa.float32()),
        of_things(labels.weight, pa.float32()),
        of_things(labels.accepted, pa.bool_()),
        of_things(labels.crowd, pa.bool_()),
        _masks(labels.masks, row.tolist()),
        pa.DictionaryArray.from_arrays(source, pa.array(_SOURCES)).cast(pa.string()),
        pa.array(np.full(len(picture), round, np.int32)),
    ]
    metadata = {"classes": json.dumps(list(classes)), "round": str(round), "task": "detection"}
    return pa.Table.from_arrays(columns, schema=SCHEMA.with_metadata(metadata))


def box_round(table: pa.Table) -> BoxRound:
    """What ``box_table`` wrote."""
    classes = stored_classes(table)
    items = np.array(stored_items(table), dtype=object)
    first = np.flatnonzero(np.r_[True, items[1:] != items[:-1]]) if len(items) else np.zeros(0, int)
    names = [str(name) for name in items[first]]
    number = np.repeat(np.arange(len(first)), np.diff(np.r_[first, len(items)]))
    there = ~np.asarray(table["label"].is_null())
    things = table.filter(pa.array(there))

    def values(name: str, kind: type) -> Tensor:
        return torch.tensor(things[name].to_numpy(zero_copy_only=False).astype(kind))

    sources = [_SOURCES.index(name) for name in things["source"].to_pylist()]
    sizes = np.stack([table["height"].to_numpy()[first], table["width"].to_numpy()[first]], 1)
    for size in sizes.tolist():
        check_size(size)
    of_thing = [(high, wide) for high, wide in sizes[number[there]].tolist()]
    masks = [
        checked_run(run, size)
        for run, size in zip(things["mask"].to_pylist(), of_thing, strict=True)
        if run is not None
    ]
    check_indices(things["label"], len(classes))
    for name in ("score", "weight"):
        check_shares(things[name])
    labels = BoxLabels(
        torch.stack([values(name, np.float32) for name in ("x1", "y1", "x2", "y2")], 1),
        values("label", np.int64),
        values("score", np.float32),
        values("weight", np.float32),
        torch.tensor(sources, dtype=torch.int64),
        torch.from_numpy(np.bincount(number[there], minlength=len(first))),
        torch.tensor(table["known"].to_numpy(zero_copy_only=False)[first].astype(bool)),
        values("crowd", bool),
        _runs(masks) if len(masks) == len(things) else None,
    )
    return BoxRound(names, labels, torch.from_numpy(sizes.astype(np.int64)), classes)


def _masks(masks: Masks | None, rows: list[int]) -> pa.Array:
    if masks is None:
        return pa.nulls(len(rows), RUNS)
    sizes = masks.sizes.tolist()
    made = [
        None if row < 0 else {"size": sizes[row], "counts": masks.runs[row].decode("ascii")}
        for row in rows
    ]
    return pa.array(made, RUNS)


def _runs(masks: list[dict[str, Any]]) -> Masks | None:
    if not masks:
        return None
    sizes = torch.tensor([mask["size"] for mask in masks], dtype=torch.int64)
    return Masks([mask["counts"] for mask in masks], sizes)
