"""Parquet files of pictures and labels."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from leaven.data.listing import (
    PLAIN,
    SPLITS,
    Columns,
    Listing,
    class_indices,
    model_confidence,
    ordered_classes,
    some,
)
from leaven.data.readers.class_names import check_names
from leaven.data.readers.parquet_file import check_pictures, is_words, read_columns
from leaven.data.readers.walk import check_inside
from leaven.data.sources import Source
from leaven.errors import DataError
from leaven.labels.classes import UNKNOWN
from leaven.plain import brief, read_json

_COLUMNS = (
    "a column `image` (encoded bytes, a path, or both as {bytes, path}) and a column of labels, "
    "`label` where no other is named (a class number or name, null where it is not known)"
)
_SHARD = re.compile(r"(?P<split>[a-z]+)(-\d+-of-\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class PictureTable:
    """The pictures of one split as an Arrow table.

    Attributes:
        split: "train", "val" or "test".
        table: the columns ``image``, ``label``, maybe ``truth``, ``name``, ``source``, ``confidence`` and
            ``split``.
        folder: what paths in it are relative to.
        prefix: what names are made of where the table has none.
    """

    split: str
    table: pa.Table
    folder: Path
    prefix: str


class ArrowPictures:
    """The sources in an Arrow column of bytes, paths, or {bytes, path}; nothing is copied."""

    def __init__(self, columns: list[tuple[pa.ChunkedArray, Path]]) -> None:
        self._folders = [folder for _, folder in columns]
        self._chunks = [
            (chunk, owner) for owner, (column, _) in enumerate(columns) for chunk in column.chunks
        ]
        self._starts = list(accumulate((len(chunk) for chunk, _ in self._chunks), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int, /) -> Source:
        if not 0 <= index < len(self):
            raise IndexError(index)
        chunk = bisect_right(self._starts, index) - 1
        values, owner = self._chunks[chunk]
        value = values[index - self._starts[chunk]].as_py()
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        return self._folders[owner] / value if isinstance(value, str) else value


def split_files(path: Path) -> list[tuple[str, Path]]:
    """The Parquet files of a folder with their splits, for example train.parquet.

    Parts of a split (``train-00000-of-00002.parquet``) and a folder ``data/`` of them are found
    too. Without a file of that kind the list is empty.

    Raises:
        DataError: a file is a link out of the folder.
    """
    for folder in (path, path / "data"):
        found = []
        for file in sorted(folder.glob("*.parquet")):
            name = _SHARD.fullmatch(file.stem)
            if name and name["split"].lower() in SPLITS and file.is_file():
                check_inside(file, os.path.realpath(path))
                found.append((SPLITS[name["split"].lower()], file))
        if found:
            return found
    return []


def read_parquet(path: Path, columns: Columns = PLAIN) -> Listing:
    """A Parquet file, or a folder with train.parquet and maybe val.parquet and test.parquet.

    Class names are taken from the schema's metadata (``classes``: a JSON list; or the features
    that Hugging Face writes); then a label is a position in them, -1 as null, or one of them.
    Else the distinct labels are the classes. A column ``name`` gives the items' names, a column
    ``split`` their splits, ``source`` whether a person or a model gave the label, and ``confidence`` how
    sure the model was.

    ``columns`` names the column of labels where it is not ``label``, and one that holds the truth.
    The split test, which is measured on, has the truth for its labels.

    Raises:
        DataError: no Parquet file, a column is missing, a label is out of range, or a source or a
            confidence is none.
    """
    files = split_files(path) if path.is_dir() else [("train", path)]
    _check_memory([file for _, file in files], path)
    tables, classes = [], None
    for split, file in files:
        table = _open_table(file, _of_split(columns, split))
        classes = classes or _class_names(table.schema.metadata or {}, file, columns.label)
        prefix = file.stem if len(files) > 1 or path.is_dir() else path.stem
        tables.append(PictureTable(split, table, file.parent, prefix))
    name = path.resolve().name if path.is_dir() else path.stem
    return listing_of(name, tables, classes)


def listing_of(name: str, tables: list[PictureTable], classes: tuple[str, ...] | None) -> Listing:
    """The listing of Arrow tables; see ``read_parquet`` for the columns and the errors."""
    said = [table.table.column("label") for table in tables]
    known = [table.table.column("truth") for table in tables if "truth" in table.table.column_names]
    labels, classes = _labels(said + known, classes)
    for table in tables:
        check_pictures(table.table.column("image"), "image", table.folder, table.folder)
    pictures = ArrowPictures([(table.table.column("image"), table.folder) for table in tables])
    labels, truth = labels[: len(pictures)], labels[len(pictures) :]
    if not len(pictures):
        raise DataError(f"{name} has no rows.", "at least one picture", "check the file.")
    names = [item for table in tables for item in _item_names(table)]
    if len(set(names)) < len(names):
        names = [item for table in tables for item in _numbered(table)]
    splits = [split for table in tables for split in _splits(table)]
    confidence = model_confidence(
        [said for table in tables for said in _values(table, "source")],
        [said for table in tables for said in _values(table, "confidence")],
        names.__getitem__,
    )
    return Listing(
        name,
        pictures,
        names,
        labels,
        splits,
        classes,
        truth=truth if known else None,
        model_confidence=confidence,
    )


def _column(table: PictureTable, name: str) -> list[Any]:
    """What a column of text says of each picture, None where there is none."""
    return [one if isinstance(one, str) else None for one in _values(table, name)]


def _values(table: PictureTable, name: str) -> list[Any]:
    """What a column says of each picture, None where there is none."""
    if name not in table.table.column_names:
        return [None] * table.table.num_rows
    said: list[Any] = table.table.column(name).to_pylist()
    return said


def _splits(table: PictureTable) -> list[str]:
    """The splits that a column says, where it says nothing else; else that of the file."""
    said = [(one or "").lower() for one in _column(table, "split")]
    if not {*said} <= SPLITS.keys() | {""}:
        return [table.split] * len(said)
    return [SPLITS[one] if one else table.split for one in said]


def _of_split(columns: Columns, split: str) -> Columns:
    """What is measured on has the truth for its labels, where there is a truth."""
    if split == "test" and columns.truth is not None:
        return Columns(columns.truth, columns.truth)
    return columns


def _check_memory(files: list[Path], path: Path) -> None:
    # The encoded pictures are read whole, for Parquet has no quick way to a single row.
    size, available = sum(file.stat().st_size for file in files), psutil.virtual_memory().available
    if size > available:
        raise DataError(
            f"{path} has {size / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB of memory are free.",
            "encoded pictures that fit in memory",
            "write the pictures as an image folder, from which they are read when wanted.",
        )


def _open_table(file: Path, columns: Columns) -> pa.Table:
    """The columns that are wanted, under the names of ``PictureTable``."""
    named = {"image": "image", "label": columns.label}
    if columns.truth is not None:
        named["truth"] = columns.truth
    also = ("name", "source", "confidence", "split")
    read = read_columns(file, list(named.values()), also, _COLUMNS)
    named |= {name: name for name in also if name in read.column_names}
    return pa.table(
        {name: read.column(column) for name, column in named.items()},
        metadata=read.schema.metadata,
    )


def _class_names(
    metadata: dict[bytes, bytes], file: Path, label: str = "label"
) -> tuple[str, ...] | None:
    where = f"The schema of {file}"
    try:
        names: Any = None
        if b"classes" in metadata:
            names = read_json(metadata[b"classes"].decode())
        elif b"huggingface" in metadata:
            features = read_json(metadata[b"huggingface"].decode())["info"]["features"]
            names = features.get(label, {}).get("names")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_names(where, str(error)) from error
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        raise _no_names(where, f"they are {brief(names)}")
    found = tuple(str(name) for name in names)
    check_names(found, where)
    return found


def _no_names(where: str, reason: str) -> DataError:
    return DataError(
        f"{where} has class names that cannot be read: {reason}.",
        'the metadata `classes` as a JSON list, for example ["cat", "dog"]',
        "write the file again.",
    )


def _labels(
    columns: list[pa.ChunkedArray], classes: tuple[str, ...] | None
) -> tuple[Tensor, tuple[str, ...]]:
    """All labels as positions (n,) int64 in the class names, which are returned too."""
    values = [value for column in columns for value in plain_labels(column).to_pylist()]
    if not all(value is None or isinstance(value, str) for value in values):
        return _from_numbers(values, classes)
    values = [value or None for value in values]
    if classes is None:
        classes = ordered_classes(value for value in values if value is not None)
    unknown = sorted({value for value in values if value is not None} - set(classes))
    if unknown:
        raise DataError(
            f"The label {brief(unknown[0])} is not one of the class names in the schema.",
            some([brief(name) for name in classes], 20),
            "correct the labels or the class names.",
        )
    return class_indices(values, classes), classes


def _from_numbers(
    values: list[int | None], classes: tuple[str, ...] | None
) -> tuple[Tensor, tuple[str, ...]]:
    if classes is None:
        names = [None if value is None or value == UNKNOWN else str(value) for value in values]
        classes = ordered_classes(name for name in names if name is not None)
        return class_indices(names, classes), classes
    labels = [UNKNOWN if value is None else value for value in values]
    wrong = [label for label in labels if not UNKNOWN <= label < len(classes)]
    if wrong:
        raise DataError(
            f"The label {wrong[0]} is not the position of a class name in the schema.",
            f"0 to {len(classes) - 1} ({some(classes, 20)}), null where it is not known",
            "correct the labels or the class names.",
        )
    return torch.tensor(labels, dtype=torch.int64), classes


def plain_labels(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The labels as text or whole numbers; whole floats, as pandas writes them, are numbers.

    Raises:
        DataError: they are something else.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain_labels(column.cast(kind.value_type))
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), None, column)
    elif not (pa.types.is_integer(kind) or is_words(kind) or pa.types.is_null(kind)):
        raise DataError(
            f"The column label has the type {kind}.",
            "class numbers or class names",
            "write one class per picture.",
        )
    if not pa.types.is_floating(kind):
        return column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(
            f"The column label has numbers that are not whole: {error}.",
            "class numbers or class names",
            "write one class per picture.",
        ) from error


def _item_names(table: PictureTable) -> list[str]:
    columns = table.table.column_names
    if "name" in columns and is_words(table.table.schema.field("name").type):
        given: list[Any] = table.table.column("name").to_pylist()
    elif is_words(table.table.schema.field("image").type):
        given = table.table.column("image").to_pylist()
    else:
        return _numbered(table)
    return given if all(given) else _numbered(table)


def _numbered(table: PictureTable) -> list[str]:
    return [f"{table.prefix}/{row:06d}" for row in range(table.table.num_rows)]
