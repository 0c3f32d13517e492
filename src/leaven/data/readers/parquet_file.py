"""One Parquet file: its columns, as far as they fit in memory, and where its pictures lie."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import psutil
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from leaven.data.readers.tree import inside
from leaven.data.readers.walk import check_inside
from leaven.errors import DataError

_ROWS_AT_ONCE = 1024
_PICTURES = "encoded pictures as bytes, paths as text, or both as {bytes, path}"


def open_parquet(file: Path, expected: str) -> pq.ParquetFile:
    """A Parquet file of which only the schema is read.

    Raises:
        DataError: it is none, or not there.
    """
    if not file.exists():
        raise DataError(f"There is no file {file}.", expected, "check the path.")
    try:
        if not file.is_file():
            raise OSError("it is not a file")
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(file, error, expected) from error


def read_columns(file: Path, wanted: Sequence[str], also: Sequence[str], expected: str) -> pa.Table:
    """The columns ``wanted``, and of ``also`` those that are there.

    It is read in parts: a small file may stand for more than the memory holds.

    Raises:
        DataError: it is damaged, lacks a column, has it twice, has text that is not in UTF-8, or is
            larger than the free memory.
    """
    opened = open_parquet(file, expected)
    there = opened.schema_arrow.names
    missing = [name for name in dict.fromkeys(wanted) if name not in there]
    if missing:
        raise DataError(
            f"{file} has no column {' and no column '.join(missing)}; it has: {', '.join(there)}.",
            expected,
            "rename or add the column.",
        )
    columns = list(dict.fromkeys([*wanted, *(name for name in also if name in there)]))
    twice = [name for name in columns if there.count(name) > 1]
    if twice:
        raise DataError(
            f"{file} has the column {twice[0]} more than once.", expected, "rename one of them."
        )
    limit, size, batches = psutil.virtual_memory().available, 0, []
    try:
        for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False):
            size += batch.nbytes
            if size > limit:
                raise DataError(
                    f"{file} has more than {limit / 2**30:.1f} GiB when it is opened, which is what "
                    "is free of the memory.",
                    "encoded pictures that fit in memory",
                    "write the pictures as an image folder, from which they are read when wanted.",
                )
            batches.append(batch)
        schema = pa.schema(
            [opened.schema_arrow.field(name) for name in columns], opened.schema_arrow.metadata
        )
        table = pa.Table.from_batches([batch.select(columns) for batch in batches], schema)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(file, error, expected) from error
    return table


def check_pictures(column: pa.ChunkedArray, name: str, folder: Path, where: Path) -> None:
    """Whether a column holds encoded pictures, or paths that stay in ``folder``.

    Raises:
        DataError: it holds something else, or a path leads out of the folder.
    """
    root = os.path.realpath(folder)
    known: dict[str, None] = {}
    for path in _paths(column, name, where):
        relative = inside(path, str(where))
        # Of a folder its links are looked at once, of each file whether it is one.
        parent = str(PurePosixPath(relative).parent)
        if parent not in known:
            check_inside(folder / parent, root)
            known[parent] = None
        # A name that is too long for the system is no link.
        if os.path.islink(folder / relative):  # noqa: PTH114
            check_inside(folder / relative, root)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of that type holds bytes."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_words(kind: pa.DataType) -> bool:
    """Whether a column of that type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _paths(column: pa.ChunkedArray, name: str, where: Path) -> Iterator[str]:
    """The paths in a column of pictures, where there are no bytes."""
    kind = column.type
    if is_bytes(kind) or pa.types.is_null(kind):
        return
    if is_words(kind):
        yield from (path for path in column.to_pylist() if path is not None)
        return
    fields = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
    content, path = fields.get("bytes", pa.null()), fields.get("path", pa.null())
    if (
        not fields.keys() & {"bytes", "path"}
        or not (is_bytes(content) or pa.types.is_null(content))
        or not (is_words(path) or pa.types.is_null(path))
    ):
        raise DataError(
            f"The column {name} of {where} has the type {str(kind)[:200]}.",
            _PICTURES,
            "write the pictures as PNG or JPEG bytes.",
        )
    if not is_words(path):
        return
    given = pc.struct_field(column, "path").to_pylist()
    encoded = [False] * len(given)
    if is_bytes(content):
        length = pc.binary_length(pc.struct_field(column, "bytes"))
        encoded = pc.fill_null(pc.greater(length, 0), False).to_pylist()
    yield from (one for one, own in zip(given, encoded, strict=True) if one and not own)


def _damaged(file: Path, error: Exception, expected: str) -> DataError:
    return DataError(
        f"{file} is not a whole Parquet file: {str(error)[:300]}.",
        f"a Parquet file with {expected}",
        "write the file again.",
    )
