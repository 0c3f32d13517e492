"""What ``leaven promise`` finds, as JSON and as a table of the items that are to be labelled."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from leaven.atomic import replacing
from leaven.data.csv_cells import written_cell
from leaven.data.readers.item_tables import SEPARATOR
from leaven.errors import DataError
from leaven.job.output_paths import check_file


@dataclass(frozen=True)
class ClassTable:
    """Which classes are accepted.

    Attributes:
        items: names of the m items.
        classes: the class names.
        said: (m,) int64, the likeliest class.
        scores: (m,) its score.
        accepted: (m,) bool.
        summary: the promise, for JSON.
    """

    items: list[str]
    classes: tuple[str, ...]
    said: Tensor
    scores: Tensor
    accepted: Tensor
    summary: dict[str, Any]

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("item", pa.string()),
            ("class", pa.string()),
            ("score", pa.float64()),
            ("accepted", pa.bool_()),
        ]
    )

    def write(self, path: Path) -> None:
        """A row for each item as ``.csv`` or ``.parquet``: item, class, score, accepted.

        Raises:
            DataError, RunError: another ending, or it cannot be written; what was there before
                stays whole.
        """
        names = [self.classes[place] for place in self.said.tolist()]
        columns = [self.items, names, self.scores.tolist(), self.accepted.tolist()]
        _write(path, self.SCHEMA, columns)


@dataclass(frozen=True)
class TagTable:
    """Which tags are given.

    Attributes:
        items: names of the m items.
        tags: the names of the tags.
        given: (m, K) bool.
        summary: the promise, for JSON.
    """

    items: list[str]
    tags: tuple[str, ...]
    given: Tensor
    summary: dict[str, Any]

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [("item", pa.string()), ("tags", pa.list_(pa.string())), ("needs_person", pa.bool_())]
    )

    def write(self, path: Path) -> None:
        """A row for each item as ``.csv`` or ``.parquet``: item, tags, needs_person.

        In a CSV file the tags have ``;`` between them. An item without any needs a person.

        Raises:
            DataError, RunError: another ending, or it cannot be written; what was there before
                stays whole.
        """
        tags: list[list[str]] = [[] for _ in self.items]
        for item, tag in self.given.nonzero().tolist():
            tags[item].append(self.tags[tag])
        _write(path, self.SCHEMA, [self.items, tags, [not some for some in tags]])


def check_out(path: Path, inputs: Iterable[Path]) -> None:
    """Refuses what is neither CSV nor Parquet, would replace what is read, or cannot be written.

    Raises:
        DataError, RunError: one of these.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(
            f"Labels cannot be written as {path.name}.",
            "a file that ends in .csv or .parquet",
            "change --out",
        )
    if path.resolve() in [one.resolve() for one in inputs]:
        raise DataError(f"--out is {path}, from which is read.", "another file", "change --out")
    check_file(path)


def _write(path: Path, schema: pa.Schema, columns: Sequence[Sequence[Any]]) -> None:
    check_out(path, ())
    with replacing(path) as beside:
        if path.suffix.lower() == ".parquet":
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema)]
            pq.write_table(pa.table(arrays, schema=schema), beside)
            return
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(schema.names)
            writer.writerows([_cell(value) for value in row] for row in zip(*columns, strict=True))


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = SEPARATOR.join(value)
    if isinstance(value, str):
        return written_cell(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
