"""CSV and Parquet files with a row for each item, named in a column ``file`` or ``item``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow_csv

from leaven.data.csv_cells import read_cell
from leaven.data.listing import some
from leaven.data.readers.csv_file import header_of, opening_csv, separator
from leaven.data.readers.parquet_file import is_words, open_parquet, read_columns
from leaven.errors import DataError
from leaven.plain import brief

ITEM = ("file", "item")
"""The names of the column of items, in small letters."""

SEPARATOR = ";"
"""Between the tags of an item."""

_LARGEST_CELL = 1 << 24


def is_csv(file: Path) -> bool:
    """Whether a file is read as CSV: it is not called Parquet."""
    return file.suffix.lower() != ".parquet"


def open_table(file: Path, expected: str) -> pa.Table:
    """All columns of a CSV or Parquet file; those of a CSV file as text.

    Args:
        file: Parquet where its name says so.
        expected: what it should be, for messages.

    Raises:
        DataError: it cannot be read, has a column twice, or has no row.
    """
    if not is_csv(file):
        names = open_parquet(file, expected).schema_arrow.names
        table = read_columns(file, names, [], expected)
    else:
        table = _open_csv(file, expected)
    if table.num_rows == 0:
        raise DataError(f"{file} has no rows.", expected, "check the file.")
    return table


def _open_csv(file: Path, expected: str) -> pa.Table:
    with opening_csv(file, expected):
        sign = separator(file, ITEM)
        header = header_of(file, sign)
        names = [read_cell(name.strip()) for name in header]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(
                f"{file} has the column {brief(twice[0])} more than once.",
                expected,
                "rename or remove one of them.",
            )
        table = arrow_csv.read_csv(
            file,
            arrow_csv.ReadOptions(use_threads=False, block_size=_LARGEST_CELL),
            arrow_csv.ParseOptions(delimiter=sign, newlines_in_values=True),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string())),
        )
        return table.rename_columns(names)


def item_names(table: pa.Table, file: Path, expected: str) -> list[str]:
    """The names of the items in the column ``file`` or ``item``, which are all different.

    Raises:
        DataError: there is no such column or there are two, or a name is missing or comes twice.
    """
    names = [name for name in table.column_names if name.strip().lower() in ITEM]
    if len(names) != 1:
        found = "no column file or item" if not names else f"the columns {' and '.join(names)}"
        there = "" if names else f"; it has: {some(table.column_names)}"
        raise DataError(f"{file} has {found}{there}.", expected, "name one column file.")
    column = table.column(names[0])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (is_words(column.type) or pa.types.is_integer(column.type)):
        raise DataError(
            f"The column {names[0]} of {file} has the type {str(column.type)[:200]}.",
            "names of items as text",
            "write the names as text.",
        )
    values = ["" if value is None else str(value) for value in column.to_pylist()]
    items = [read_cell(value) for value in values] if is_csv(file) else values
    if not all(items):
        raise DataError(
            f"Row {items.index('') + 1} of {file} names no item.",
            f"one in the column {names[0]} of each row",
            "correct the table.",
        )
    twice = [name for name, count in Counter(items).items() if count > 1]
    if twice:
        count = "1 item" if len(twice) == 1 else f"{len(twice)} items"
        raise DataError(
            f"{file} has {count} in more than one row: {some([brief(name) for name in twice])}.",
            "one row for each item",
            "remove the other rows.",
        )
    return items


def tag_names(
    column: pa.ChunkedArray, items: Sequence[str], file: Path, expected: str, why: str = ""
) -> list[list[str]]:
    """The tags of each row: names with ``;`` between them, or lists of names in a Parquet file.

    ``why`` says why a row that nobody knows about has to go.

    Raises:
        DataError: the column holds no words, or null.
    """
    kind = column.type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_words(kind) and not (listed and is_words(kind.value_type)):
        raise DataError(
            f"The column tags of {file} has the type {str(kind)[:200]}.",
            expected,
            "write names of tags.",
        )
    values = column.to_pylist()
    for row, value in enumerate(values):
        if value is None or (listed and None in value):
            raise DataError(
                f"Row {row + 1} of {file} ({brief(items[row])}) has null for its tags.",
                "an empty text or list where an item has none of the tags",
                f"write one, or remove the row if nobody knows{why}.",
            )
    if not listed:
        texts = [read_cell(value.strip()) if is_csv(file) else value for value in values]
        values = [text.split(SEPARATOR) for text in texts]
    return [[tag.strip() for tag in tags if tag.strip()] for tags in values]
