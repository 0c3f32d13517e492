"""Parquet files of pictures with masks, instance maps or boxes: what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from leaven.data.readers.class_names import ClassNames, check_names
from leaven.data.readers.parquet import ArrowPictures, split_files
from leaven.data.readers.parquet_file import check_pictures, open_parquet, read_columns
from leaven.data.readers.picture_sizes import Sized, picture_sizes
from leaven.data.sources import Sources
from leaven.errors import DataError
from leaven.plain import read_json

_EXPECTED = "the column image and one of mask, instances, boxes or objects"


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
            return None if text is None else read_json(text.decode())
        except ValueError as error:
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
    if not files:
        raise DataError(f"{path} has no Parquet file.", _EXPECTED, "check the path.")
    names: list[str] = open_parquet(files[0][1], _EXPECTED).schema_arrow.names
    return names


def open_tables(path: Path, columns: Sequence[str]) -> Tables:
    """Reads the columns ``image``, ``name`` where there is one, and ``columns``.

    Raises:
        DataError: a file is damaged or lacks a column, or a picture lies outside its folder.
    """
    tables, files = [], _files(path)
    for split, file in files:
        table = read_columns(file, ["image", *columns], ["name"], _EXPECTED)
        for name in {"image", "mask", "instances"} & {"image", *columns}:
            check_pictures(table.column(name), name, file.parent, file)
        tables.append((split, table, file.parent))
    name = path.resolve().name if path.is_dir() else path.stem
    return Tables(name, tables, tuple(file for _, file in files))


def _files(path: Path) -> list[tuple[str, Path]]:
    return split_files(path) if path.is_dir() else [("train", path)]
