"""CSV files as people save them: with commas, or with semicolons or tabs between the cells."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from leaven.errors import DataError

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
        DataError: it is not there or cannot be read.
    """
    with opening_csv(file, expected):
        return _rows(file, separator(file, items))


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
