"""CSV files as people save them: with commas, or with semicolons or tabs between the cells."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from leaven.data.listing import some
from leaven.errors import DataError
from leaven.plain import brief, counted

_SEPARATORS = (",", ";", "\t")
_SHOWN = 300

Rows = list[tuple[int, list[str]]]
"""The rows of a file: in which line each ends, and its cells."""


def csv_rows(file: Path, items: Collection[str], expected: str) -> Rows:
    """The rows of a CSV file that are not empty, the header first.

    Args:
        file: in UTF-8.
        items: the names in small letters that the column of items may have; the separator is the
            one that finds it in the header, and else the comma.
        expected: what the file should be, for messages.

    Raises:
        DataError: it is not there or cannot be read, or rows have text past the last column.
    """
    with opening_csv(file, expected):
        rows = _rows(file, separator(file, items))
    if rows:
        _check_widths(rows, file, expected)
    return rows


def _check_widths(rows: Rows, file: Path, expected: str) -> None:
    width = len(rows[0][1])
    # A spreadsheet ends rows with empty cells: nothing is lost with them.
    wide = [(line, cells) for line, cells in rows if any(map(str.strip, cells[width:]))]
    if not wide:
        return
    shown = [f"line {line} ({brief(','.join(cells))})" for line, cells in wide]
    raise DataError(
        f"{file} has {counted(width, 'column')} and more cells in "
        f"{counted(len(wide), 'row')}: {some(shown, 3)}.",
        expected,
        'put text with commas in quotes ("cat, big"), or name every column in the first row.',
    )


def separator(file: Path, items: Collection[str]) -> str:
    """What stands between the cells of a CSV file; see ``csv_rows``.

    Raises:
        OSError, UnicodeDecodeError, csv.Error: it cannot be read.
    """
    for sign in _SEPARATORS:
        header = [cell.strip().lower() for cell in header_of(file, sign)]
        if any(cell in items for cell in header):
            return sign
    return _SEPARATORS[0]


def header_of(file: Path, sign: str) -> list[str]:
    """The cells of the first row that is not empty.

    Raises:
        OSError, UnicodeDecodeError, csv.Error: it cannot be read.
    """
    with file.open(newline="", encoding="utf-8-sig") as opened:
        return next((row for row in csv.reader(opened, delimiter=sign) if row), [])


@contextmanager
def opening_csv(file: Path, expected: str) -> Iterator[None]:
    """Says in words why a file cannot be read as CSV.

    Raises:
        DataError: the block could not read it.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}.", expected, "check the path.") from error
    except OSError as error:
        raise DataError(
            f"{file} cannot be read: {error.strerror or error}.",
            expected,
            "check the path, and the permission to read it.",
        ) from error
    except (UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise DataError(
            f"{file} is not a CSV file in UTF-8: {str(error)[:_SHOWN]}.",
            expected,
            "save it as CSV in UTF-8, with as many cells in each row as in the first.",
        ) from error


def _rows(file: Path, sign: str) -> Rows:
    with file.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.reader(opened, delimiter=sign)
        return [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
