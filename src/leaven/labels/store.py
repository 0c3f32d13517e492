"""The label store: one Parquet file per round of labels.

The files are plain tables with Arrow types, so pandas, polars, DuckDB and Spark read them as they
are. The class names are in the schema's metadata under ``classes``, as a JSON list.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from leaven.atomic import replacing
from leaven.errors import RunError
from leaven.labels.box_table import BoxRound, box_round, box_table
from leaven.labels.boxes import BoxLabels
from leaven.labels.caption_table import CaptionRound, caption_round, caption_table
from leaven.labels.classes import UNKNOWN, ClassLabels, Source
from leaven.labels.pixel_table import PicturePixels, PixelRound, pixel_table
from leaven.labels.stored import check_indices, check_shares, stored_classes, stored_items

R = TypeVar("R")

Round = tuple[list[str], ClassLabels, list[str], Tensor | None]
"""What a round holds: item names, labels, class names, and the truth (-1 unknown) or None."""

_FILE = re.compile(r"round-(\d{3,})\.parquet")
_SOURCES = tuple(source.name.lower() for source in Source)


class LabelStore:
    """The rounds of labels of a run, as ``round-NNN.parquet`` in ``folder``.

    Label maps, boxes and captions have tables of their own: ``pixel_table``, ``box_table`` and
    ``caption_table``. For a class
    per item the columns are ``item`` string, ``class`` dictionary of string (null when unknown), ``label``
    int32 (null when unknown), ``confidence`` and ``weight`` float32, ``accepted`` bool,
    ``source`` dictionary of string (nobody, person, model), ``round`` int32, ``truth`` int32
    (null when unknown) and ``probs`` fixed-size list of float32 (null when not kept).
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def rounds(self) -> list[int]:
        """The numbers of the rounds that are there, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_FILE.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def write(
        self,
        round: int,
        names: Sequence[str],
        labels: ClassLabels,
        classes: Sequence[str],
        truth: Tensor | None = None,
    ) -> Path:
        """Write a round, in place of an older file of that number, and return its path.

        Args:
            round: its number, 0 or more.
            names: n stable item ids.
            labels: n labels.
            classes: the K class names.
            truth: (n,) int64 with -1 where unknown, or None when nothing is known.

        Raises:
            RunError: when the file cannot be written; an older file of that number stays whole.
        """
        return self._put(round, _table(round, names, labels.cpu(), list(classes), truth))

    def write_pixels(
        self, round: int, pictures: Iterator[PicturePixels], classes: Sequence[str]
    ) -> Path:
        """Write a round of label maps; see ``pixel_table`` for its columns.

        Raises:
            RunError: as ``write``.
        """
        return self._put(round, pixel_table(round, pictures, classes))

    def write_boxes(
        self,
        round: int,
        names: Sequence[str],
        labels: BoxLabels,
        sizes: Tensor,
        classes: Sequence[str],
    ) -> Path:
        """Write a round of boxes of pictures of ``sizes`` (n, 2); see ``box_table``.

        Raises:
            RunError: as ``write``.
        """
        return self._put(round, box_table(round, names, labels, sizes, classes))

    def write_captions(self, round: int, said: CaptionRound) -> Path:
        """Write a round of captions; see ``caption_table`` for its columns.

        Raises:
            RunError: as ``write``.
        """
        return self._put(round, caption_table(round, said))

    def _put(self, round: int, table: pa.Table) -> Path:
        path = self._path(round)
        try:
            with replacing(path) as partial:
                pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
        except OSError as error:
            raise RunError(
                f"The labels of round {round} cannot be written to {path}: {error}.",
                "a folder that can be written, with free space",
                "Free space or change permissions, then resume the run.",
            ) from error
        return path

    def read(self, round: int | None = None) -> Round:
        """Names, labels, class names and truth of a round, or of the latest whole one when None.

        A damaged latest round is passed over with a warning.

        Raises:
            RunError: when there is no such round, or its file is damaged.
        """
        return self._latest(round, _decode)

    def read_pixels(self, round: int | None = None) -> PixelRound:
        """A round of label maps, or the latest whole one; as ``read``."""
        return self._latest(round, PixelRound)

    def read_boxes(self, round: int | None = None) -> BoxRound:
        """A round of boxes, or the latest whole one; as ``read``."""
        return self._latest(round, box_round)

    def read_captions(self, round: int | None = None) -> CaptionRound:
        """A round of captions, or the latest whole one; as ``read``."""
        return self._latest(round, caption_round)

    def _latest(self, round: int | None, decode: Callable[[pa.Table], R]) -> R:
        rounds = self.rounds() if round is None else [round]
        damage: RunError | None = None
        for number in reversed(rounds):
            try:
                return _read(self._path(number), decode)
            except RunError as error:
                if round is not None:
                    raise
                warnings.warn(f"{error.found} The round before is used.", stacklevel=2)
                damage = error
        raise damage or RunError(
            f"There are no labels in {self.folder}.",
            "files named round-000.parquet and so on",
            "Check the path, or run until the first round is complete.",
        )

    def _path(self, round: int) -> Path:
        return self.folder / f"round-{round:03d}.parquet"


def _table(
    round: int,
    names: Sequence[str],
    labels: ClassLabels,
    classes: list[str],
    truth: Tensor | None,
) -> pa.Table:
    n = len(labels)
    if len(names) != n or (truth is not None and len(truth) != n):
        given = "" if truth is None else f" and {len(truth)} truths"
        raise ValueError(f"{n} labels with {len(names)} names{given}")
    label = _indices(labels.classes, len(classes))
    source = pa.array(_int32(labels.source))
    columns = {
        "item": pa.array(names, pa.string()),
        "class": pa.DictionaryArray.from_arrays(label, pa.array(classes, pa.string())),
        "label": label,
        "confidence": pa.array(labels.confidence.float().numpy()),
        "weight": pa.array(labels.weight.float().numpy()),
        "accepted": pa.array(labels.accepted.numpy()),
        "source": pa.DictionaryArray.from_arrays(source, pa.array(_SOURCES)),
        "round": pa.array(np.full(n, round, np.int32)),
        "truth": pa.nulls(n, pa.int32()) if truth is None else _indices(truth.cpu(), len(classes)),
        "probs": _lists(labels.probs, n, len(classes)),
    }
    return pa.table(columns, metadata={"classes": json.dumps(classes), "round": str(round)})


def _int32(values: Tensor) -> np.ndarray:
    return values.to(torch.int32).numpy()


def _indices(values: Tensor, classes: int) -> pa.Array:
    """int32, null where the class is unknown."""
    if len(values) and int(values.max()) >= classes:
        raise ValueError(f"class {int(values.max())} where there are {classes}")
    return pa.array(_int32(values), mask=(values < 0).numpy())


def _lists(probs: Tensor | None, n: int, width: int) -> pa.Array:
    if probs is None:
        return pa.nulls(n, pa.list_(pa.float32(), width))
    if probs.shape != (n, width):
        raise ValueError(f"probs {tuple(probs.shape)} for {n} items of {width} classes")
    flat = pa.array(probs.float().numpy().reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, width)


def _read(path: Path, decode: Callable[[pa.Table], R]) -> R:
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")
        table = pq.read_table(path, page_checksum_verification=True).combine_chunks()
        table.validate(full=True)
        return decode(table)
    except FileNotFoundError as error:
        raise RunError(
            f"There is no label file {path}.",
            "a file that an earlier round has written",
            "Check the path and the number of the round.",
        ) from error
    # Columns of other types than they should have bring errors of many types.
    except (OSError, pa.ArrowException, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"The label file {path} is damaged: {str(error)[:300]}.",
            "a whole Parquet file written by leaven",
            "Remove it and resume the run, or read an earlier round.",
        ) from error


def _decode(table: pa.Table) -> Round:
    classes = stored_classes(table)
    for name in ("label", "truth"):
        check_indices(table[name], len(classes))
    for name in ("confidence", "weight"):
        check_shares(table[name])
    source = pc.index_in(table["source"].cast(pa.string()), pa.array(_SOURCES))
    labels = ClassLabels(
        _tensor(table["label"]).long(),
        _tensor(table["confidence"]),
        _tensor(table["weight"]),
        _tensor(source).long(),
        _probs(table["probs"], len(classes)),
    )
    truth = table["truth"]
    known = None if truth.null_count == len(truth) else _tensor(truth).long()
    return stored_items(table), labels, classes, known


def _tensor(column: pa.ChunkedArray) -> Tensor:
    if column.null_count:
        column = pc.fill_null(column, UNKNOWN)
    return torch.tensor(column.to_numpy())


def _probs(column: pa.ChunkedArray, width: int) -> Tensor | None:
    if column.null_count == len(column):
        return None
    flat = pc.list_flatten(column).to_numpy()
    return torch.tensor(flat).view(len(column), width)
