"""Rounds of labels in a run folder of somebody else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.safety.hostile import png, refusal

from leaven.data.readers import read
from leaven.data.readers.annotated import read_annotated
from leaven.errors import LeavenError, RunError
from leaven.labels import BoxLabels, ClassLabels, LabelStore, Masks, Source
from leaven.labels.pixel_table import PicturePixels
from leaven.labels.runs import check_size, lengths_of
from leaven.report import words

SHORT = {"size": [6, 8], "counts": "0"}
"""Runs of no pixel: a decoder that trusts them gives out memory as it was."""

LARGE = {"size": [2**31 - 1, 2**31 - 1], "counts": "0"}


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    made = LabelStore(tmp_path)
    probs = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    made.write(0, ["a", "b"], ClassLabels.from_probs(probs), ["cat", "dog"], torch.tensor([0, -1]))
    sure = torch.full((6, 8), 0.5)
    picture = PicturePixels("a", torch.zeros(6, 8, dtype=torch.uint8), sure, sure, Source.MODEL)
    made.write_pixels(1, iter([picture]), ["cat", "dog"])
    mask = Masks.from_dense(torch.ones(1, 6, 8, dtype=torch.bool))
    boxes = BoxLabels.from_person([torch.tensor([[1.0, 1, 4, 4]])], [torch.tensor([1])], masks=mask)
    made.write_boxes(2, ["a"], boxes, torch.tensor([[6, 8]]), ["cat", "dog"])
    return made


def put_column(store: LabelStore, round: int, name: str, values: list[Any]) -> None:
    path = store.folder / f"round-{round:03d}.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(name)
    column = pa.array(values, table.schema.field(name).type)
    pq.write_table(table.set_column(place, table.schema.field(name), column), path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("label", [7, 0]),
        ("label", [-5, 0]),
        ("truth", [2, 0]),
        ("confidence", [math.nan, 0.5]),
        ("confidence", [1.5, 0.5]),
        ("weight", [-0.5, 0.5]),
        ("weight", [math.inf, 0.5]),
        ("item", [None, "b"]),
    ],
)
def test_classes_that_cannot_be(store: LabelStore, name: str, values: list[Any]) -> None:
    put_column(store, 0, name, values)
    with pytest.raises(RunError, match="is damaged"):
        store.read(0)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mask", [SHORT]),
        ("mask", [LARGE]),
        ("mask", [{"size": [3, 4], "counts": "0<"}]),
        ("mask", [{"size": [6, 8], "counts": "ÿÿ"}]),
        ("height", [0]),
        ("height", [2**31 - 1]),
        ("label", [9]),
        ("score", [math.nan]),
        ("source", ["nobody knows"]),
        ("item", [None]),
    ],
)
def test_boxes_that_cannot_be(store: LabelStore, name: str, values: list[Any]) -> None:
    put_column(store, 2, name, values)
    with pytest.raises(RunError, match="is damaged"):
        store.read_boxes(2)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("accepted", [SHORT]),
        ("accepted", [None]),
        ("segments", [None]),
        ("segments", [[{"class": "cat", "label": 0, "confidence": 0.5, "mask": SHORT}]]),
        ("segments", [[{"class": "cat", "label": 9, "confidence": 0.5, "mask": SHORT}]]),
        ("height", [2**31 - 1]),
        ("width", [-8]),
        ("source", ["x"]),
    ],
)
def test_pixels_that_cannot_be(store: LabelStore, name: str, values: list[Any]) -> None:
    put_column(store, 1, name, values)
    error = refusal(lambda: store.read_pixels(1).picture(0))
    assert "damaged" in error.found


def test_a_round_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "round-000.parquet")
    with pytest.raises(RunError, match="is damaged"):
        LabelStore(tmp_path).read(0)


def test_the_run_lengths_of_pycocotools_are_read_as_it_does() -> None:
    mask = torch.rand(5, 9, 11, generator=torch.Generator().manual_seed(0)) > 0.5
    for run, one in zip(Masks.from_dense(mask).runs, mask, strict=True):
        flat = one.T.reshape(-1)
        edges = (flat[1:] != flat[:-1]).nonzero().squeeze(1) + 1
        ends = [0] * bool(flat[0]) + [*edges.tolist(), 99]
        begins = [0, *ends[:-1]]
        assert lengths_of(run) == [end - begin for begin, end in zip(begins, ends, strict=True)]


def test_sizes_of_pictures() -> None:
    assert check_size([3, 4]) == (3, 4)
    for wrong in (None, [], [3], [0, 4], [3, True], [3.0, 4], [2**16, 2**16], "ab"):
        with pytest.raises(ValueError):
            check_size(wrong)


def test_columns_of_labels_that_cannot_be(tmp_path: Path) -> None:
    boxes = [[[0.0, 0, 4, 4]], []]
    for labels in ([[["cat"]], []], [[[0]], []], [[None], []], [[1.5], []], [[""], []]):
        table = pa.table({"image": [png()] * 2, "boxes": boxes, "labels": labels})
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(LeavenError):
            read_annotated(tmp_path / "x.parquet", "detection")
    for numbers in ([0, 2], [0, -2], [2**63, 0], [2**64 - 1, 0]):
        kind = pa.uint64() if max(numbers) >= 2**63 else pa.int64()
        columns = {"image": pa.array([png()] * 2), "label": pa.array(numbers, kind)}
        table = pa.table(columns, metadata={"classes": '["a", "b"]'})
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(LeavenError, match="is not the position of a class name"):
            read(tmp_path / "x.parquet")


def test_numbers_beyond_all_floats_are_none() -> None:
    assert words.number(10**400) is None and words.percent(10**400) == words.NONE
    assert words.number(True) is None and words.number(3) == 3.0
