"""Parquet files of pictures with masks, instance maps or boxes: what they have in common."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pyarrow import parquet as pq

from leaven.data.readers.class_names import ClassNames, check_names
from leaven.data.readers.parquet import ArrowPictures, split_files
from leaven.data.readers.picture_sizes import Sized, picture_sizes
from leaven.data.readers.tree import inside
from leaven.data.sources import Sources
from leaven.errors import DataError


@dataclass(frozen=True)
class Tables:
    """The tables of a Parquet file, or of a folder with one for each split.

    Attributes:
        name: what the data are called.
        tables: with their splits and the folders that paths in them are relative to.
        files: where they are from, for errors.
    """

    name: str
    tables: list[tuple[str, pa.Table, Path]]
    files: tuple[Path, ...]

    def pictures(self) -> tuple[Sources, list[str], list[str], Sized]:
        """The readable pictures, their names and splits, and their sizes.

        Raises:
            DataError: too many cannot be read, or a name comes twice.
        """
        sources = self.column("image")
        names = [name for place in range(len(self.tables)) for name in self._names(place)]
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise DataError(
                f"{self.files[0]} has the name {twice!r} more than once.",
                "a name of its own for each picture",
                "rename the rows, or leave the column name out.",
            )
        splits = [split for split, table, _ in self.tables for _ in range(table.num_rows)]
        sized = picture_sizes(sources, names, self.name)
        kept = sized.kept
        return (
            Sources(sources, torch.tensor(kept, dtype=torch.int64)),
            [names[item] for item in kept],
            [splits[item] for item in kept],
            sized,
        )

    def column(self, name: str) -> ArrowPictures:
        """The encoded pictures of a column."""
        return ArrowPictures([(table.column(name), folder) for _, table, folder in self.tables])

    def values(self, name: str) -> list[Any]:
        """The values of a column."""
        return [value for _, table, _ in self.tables for value in table.column(name).to_pylist()]

    def metadata(self, key: str) -> Any:
        """What the schema says of ``key`` in JSON, None where it says nothing.

        Raises:
            DataError: it is not JSON, or the files say different things.
        """
        said = {(table.schema.metadata or {}).get(key.encode()) for _, table, _ in self.tables}
        if len(said) > 1:
            raise DataError(
                f"The Parquet files of {self.name} say different things of {key} in their schemas.",
                "the same in each",
                "write the files again.",
            )
        text = said.pop()
        try:
            return None if text is None else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self.files[0]} has {key} in its schema, which is not JSON.",
                f"the metadata `{key}` as JSON",
                "write the file again.",
            ) from error

    def classes(self) -> ClassNames | None:
        """The metadata ``classes`` of the schema, a JSON list of names.

        Raises:
            DataError: it is something else.
        """
        said = self.metadata("classes")
        if said is None:
            return None
        where = f"The schema of {self.files[0]}"
        if not isinstance(said, list) or not all(isinstance(name, str) for name in said):
            raise DataError(
                f"{where} has classes that are no list of names.",
                'the metadata `classes` as a JSON list, for example ["cat", "dog"]',
                "write the file again.",
            )
        check_names(tuple(said), where)
        return ClassNames(where, tuple(said))

    def _names(self, place: int) -> list[str]:
        _, table, _ = self.tables[place]
        if "name" in table.column_names:
            given = table.column("name").to_pylist()
            if all(isinstance(name, str) and name for name in given):
                return list(given)
        stem = self.files[place].stem
        return [f"{stem}/{row:06d}" for row in range(table.num_rows)]


def column_names(path: Path) -> list[str]:
    """The columns of the first Parquet file at ``path``.

    Raises:
        DataError: there is none, or it is damaged.
    """
    files = _files(path)
    try:
        names: list[str] = pq.read_schema(files[0][1]).names
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(files[0][1], error) from error
    return names


def open_tables(path: Path, columns: Sequence[str]) -> Tables:
    """Reads the columns ``image``, ``name`` where there is one, and ``columns``.

    Raises:
        DataError: a file is damaged or lacks a column, or a picture lies outside its folder.
    """
    tables, files = [], _files(path)
    for split, file in files:
        wanted = ["image", *columns]
        try:
            opened = pq.ParquetFile(file)
            there = opened.schema_arrow.names
            missing = [name for name in wanted if name not in there]
            if missing:
                raise DataError(
                    f"{file} has no column {' and no column '.join(missing)}; "
                    f"it has: {', '.join(there)}.",
                    "the columns " + ", ".join(wanted),
                    "rename or add the column.",
                )
            table = opened.read(columns=[*wanted, *({"name"} & set(there))])
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, error) from error
        for name in {"image", "mask", "instances"} & set(wanted):
            _check_pictures(table.column(name), file, name)
        tables.append((split, table, file.parent))
    name = path.resolve().name if path.is_dir() else path.stem
    return Tables(name, tables, tuple(file for _, file in files))


def _files(path: Path) -> list[tuple[str, Path]]:
    return split_files(path) if path.is_dir() else [("train", path)]


def _check_pictures(column: pa.ChunkedArray, file: Path, name: str) -> None:
    """Encoded pictures, or paths that stay in the folder of the file."""
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return
    values = column.to_pylist()
    if pa.types.is_struct(kind):
        values = [value and not value.get("bytes") and value.get("path") for value in values]
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(
            f"The column {name} of {file} has the type {kind}.",
            "encoded pictures as bytes, paths as text, or both as {bytes, path}",
            "write the pictures as PNG or JPEG bytes.",
        )
    root = file.parent.resolve()
    for value in values:
        if isinstance(value, str):
            relative = inside(value, str(file))
            if not (root / relative).resolve().is_relative_to(root):
                raise DataError(
                    f"{file} names {value}, a link out of its folder.",
                    "files that lie in the folder",
                    "copy what it points to.",
                )


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} is not a whole Parquet file: {error}.",
        "a Parquet file with the column image and one of mask, instances or boxes",
        "write the file again.",
    )
