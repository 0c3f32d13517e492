"""Tables of the scores that any model gave, and of what people said of the same items.

Both are CSV or Parquet files with a column ``file`` or ``item``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from leaven.data.csv_cells import read_cell
from leaven.data.listing import class_indices, some
from leaven.data.readers.class_names import check_names
from leaven.data.readers.item_tables import (
    ITEM,
    SEPARATOR,
    is_csv,
    item_names,
    open_table,
    tag_names,
)
from leaven.data.readers.parquet import plain_labels
from leaven.data.readers.parquet_file import is_words
from leaven.errors import DataError, nearest
from leaven.plain import brief

ROUNDING = 1e-6
"""A probability of a float32 may be above 1 by so much."""

SUM = 0.05
"""The probabilities of an item may be off 1 by so much: they may have been rounded."""

_LONGEST_COMPARED = 300
_SCORES = (
    "a CSV or Parquet file with a column file (or item) and a column of numbers in [0, 1] for each "
    "class or tag"
)
_LABELS = "a CSV or Parquet file with the columns file (or item) and "


@dataclass(frozen=True)
class ScoreTable:
    """What a model says of items.

    Attributes:
        file: where it was read.
        items: n names, all different.
        classes: the K classes or tags.
        values: (n, K) float64 in [0, 1].
    """

    file: Path
    items: list[str]
    classes: tuple[str, ...]
    values: Tensor


def read_scores(file: Path) -> ScoreTable:
    """The scores of a table: a column of items, every other one is a class or tag.

    Raises:
        DataError: it cannot be read, a column is missing or comes twice, an item comes twice, or a
            score is no number in [0, 1].
    """
    table = open_table(file, _SCORES)
    items = item_names(table, file, _SCORES)
    columns = [name for name in table.column_names if name.strip().lower() not in ITEM]
    if not columns:
        raise DataError(
            f"{file} has no column of scores.", _SCORES, "add a column for each class or tag."
        )
    classes = tuple(name.strip() for name in columns)
    check_names(classes, f"The list of columns of {file}")
    values = np.empty((len(items), len(columns)))
    for place, name in enumerate(columns):
        values[:, place] = _numbers(table.column(name), name, items, file)
    return ScoreTable(file, items, classes, torch.from_numpy(values.clip(0, 1)))


def check_probabilities(scores: ScoreTable) -> None:
    """Refuses scores that are not those of one class each.

    Raises:
        DataError: there is one class, or a row does not sum to about 1.
    """
    if len(scores.classes) < 2:
        raise DataError(
            f"{scores.file} has one column of scores, {brief(scores.classes[0])}.",
            "a column for each of two or more classes",
            "add the others; or add --tags, if an item may have that tag or not.",
        )
    sums = scores.values.sum(1)
    wrong = ((sums - 1).abs() > SUM).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"The scores of {len(wrong)} of {len(sums)} items of {scores.file} do not sum to 1; "
            f"those of {brief(scores.items[first])} sum to {float(sums[first]):.4g}.",
            "probabilities of one class for each item",
            "add --tags, if an item may have several of them; else write probabilities.",
        )


def read_classes(file: Path, scores: ScoreTable) -> Tensor:
    """(n,) int64: the class that people said of each item of ``scores``, -1 where they said none.

    Raises:
        DataError: it cannot be read, a column is missing, an item comes twice or is none of the
            scores, or a class is none of theirs.
    """
    expected = _LABELS + "label"
    table = open_table(file, expected)
    column = _said(table, "label", file, expected)
    places = _places(item_names(table, file, expected), scores, file)
    words = [str(value).strip() if value is not None else "" for value in _plain(column, file)]
    _check_known([word for word in words if word], scores, file)
    labels = torch.full((len(scores.items),), -1)
    labels[places] = class_indices([word or None for word in words], scores.classes)
    return labels


def read_tags(file: Path, scores: ScoreTable) -> tuple[Tensor, Tensor]:
    """What people said of the items of ``scores``: which they looked at (n,) bool, and which tags
    these have (n, K) bool.

    Tags are names with ``;`` between them, or lists of names in a Parquet file. Nothing between the
    commas, or an empty list, says that an item has none of them.

    Raises:
        DataError: as ``read_classes``, or the tags of an item are not known.
    """
    expected = _LABELS + f"tags (names with {SEPARATOR} between them; empty where it has none)"
    table = open_table(file, expected)
    column = _said(table, "tags", file, expected)
    items = item_names(table, file, expected)
    places = _places(items, scores, file)
    split = [name for name in scores.classes if SEPARATOR in name]
    if split:
        raise DataError(
            f"The tag {brief(split[0])} of {scores.file} has {SEPARATOR!r} in its name.",
            "names without it: it stands between the tags of an item",
            "rename the tag.",
        )
    why = ": whether an item is among the held-out ones must not depend on its tags"
    said = tag_names(column, items, file, expected, why)
    _check_known([tag for tags in said for tag in tags], scores, file)
    position = {name: place for place, name in enumerate(scores.classes)}
    known = torch.zeros(len(scores.items), dtype=torch.bool)
    truth = torch.zeros(scores.values.shape, dtype=torch.bool)
    known[places] = True
    for place, tags in zip(places.tolist(), said, strict=True):
        truth[place, [position[tag] for tag in tags]] = True
    return known, truth


def _numbers(
    column: pa.ChunkedArray, name: str, items: Sequence[str], file: Path
) -> NDArray[np.float64]:
    """The scores in a column."""

    def refused(row: int, value: object) -> DataError:
        return DataError(
            f"Row {row + 1} of {file} ({brief(items[row])}) has {value} in the column "
            f"{brief(name)}.",
            "a number from 0 to 1 in each column of a class or tag",
            "correct the table, or leave out the columns that are no class.",
        )

    kind = column.type
    if is_words(kind):
        column = pc.utf8_trim_whitespace(column)
    elif not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise refused(0, brief(column[0].as_py()))
    try:
        numbers = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
    except pa.ArrowException as error:
        row = _first(column, lambda value: not _is_number(value))
        raise refused(row, brief(column[row].as_py())) from error
    outside = ~((numbers >= -ROUNDING) & (numbers <= 1 + ROUNDING))
    if outside.any():
        row = int(outside.argmax())
        raise refused(row, brief(float(numbers[row])))
    found: NDArray[np.float64] = numbers
    return found


def _first(column: pa.ChunkedArray, wrong: Callable[[Any], bool]) -> int:
    return next((row for row, value in enumerate(column.to_pylist()) if wrong(value)), 0)


def _is_number(value: Any) -> bool:
    try:
        pa.scalar(value).cast(pa.float64())
    except pa.ArrowException:
        return False
    return True


def _said(table: pa.Table, wanted: str, file: Path, expected: str) -> pa.ChunkedArray:
    """The column of what people said."""
    names = {name.strip().lower(): name for name in table.column_names}
    if wanted not in names:
        do = "name the column in the first row."
        if wanted == "label" and "tags" in names:
            do = "add --tags, or " + do
        elif wanted == "tags" and "label" in names:
            do = "leave --tags out, or " + do
        raise DataError(
            f"{file} has no column {wanted}; it has: {some(table.column_names)}.", expected, do
        )
    return table.column(names[wanted])


def _plain(column: pa.ChunkedArray, file: Path) -> list[Any]:
    values = plain_labels(column).to_pylist()
    return [read_cell(value.strip()) for value in values] if is_csv(file) else values


def _places(items: Sequence[str], scores: ScoreTable, file: Path) -> Tensor:
    """Which rows of the scores the items are."""
    position = {name: place for place, name in enumerate(scores.items)}
    unknown = [name for name in items if name not in position]
    if unknown:
        one = len(unknown) == 1
        raise DataError(
            f"{file} has {len(unknown)} {'item that is' if one else 'items that are'} not in "
            f"{scores.file}: {some([brief(name) for name in unknown])}.",
            f"items of the scores, such as {brief(scores.items[0])}",
            "let the model score them too, or correct their names.",
        )
    return torch.tensor([position[name] for name in items])


def _check_known(said: Sequence[str], scores: ScoreTable, file: Path) -> None:
    unknown = sorted(set(said) - set(scores.classes))
    if unknown:
        raise DataError(
            f"{file} has {brief(unknown[0])}, for which {scores.file} has no column.",
            f"the names of its columns: {some([brief(name) for name in scores.classes], 10)}",
            f"correct the name, or add the column. {_like(unknown[0], scores.classes)}".strip(),
        )


def _like(name: str, names: Sequence[str]) -> str:
    if len(name) > _LONGEST_COMPARED or len(names) > _LONGEST_COMPARED:
        return ""
    hint = nearest(name, names)
    return hint if hint.startswith("Did") else ""
