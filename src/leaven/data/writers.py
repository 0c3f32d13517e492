"""Writers: a labelled data set as an image folder, a CSV file or a Parquet file.

Each writes beside the place and moves the whole there, so that a crash leaves nothing half done.
What is written is read back by ``open_data``.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from leaven.atomic import replacing
from leaven.data.csv_cells import written_cell
from leaven.data.dataset import ImageSet
from leaven.data.encoded import encoded
from leaven.data.file_names import FreeNames, first_as_code, safe_part
from leaven.data.listing import SPLITS
from leaven.data.readers.folder import SOURCES
from leaven.errors import DataError
from leaven.labels.classes import ClassLabels, Source


@dataclass(frozen=True)
class Part:
    """Items of one split.

    Attributes:
        images: n items.
        labels: what is believed about them.
        split: "train", "val" or "test".
    """

    images: ImageSet
    labels: ClassLabels
    split: str


_UNLABELLED = "unlabelled"
_RESERVED = {_UNLABELLED, "unlabeled", *SPLITS}
_ROWS_AT_ONCE = 512


def write_folder(
    folder: Path, images: ImageSet, labels: ClassLabels, classes: Sequence[str]
) -> None:
    """A folder per class with the pictures whose label is accepted, the others in ``unlabelled/``.

    Pictures that came from files or bytes are copied as they are, in full size; others become
    PNG. A file keeps its name; one that is already taken in its class gets a number. Characters
    that a file system does not take are written as ``%`` and their code; see
    ``leaven.data.file_names``.

    A folder says nothing of who labelled its pictures: where a model did, ``label-sources.csv``
    beside the class folders lists these pictures, with the columns file, source and confidence.

    Args:
        folder: where; it must be empty or not yet there.
        images: n items.
        labels: what is believed about the n items.
        classes: the K class names.

    Raises:
        DataError: the folder is not empty.
    """
    _check_rows(images, labels)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} is there and not empty.", "a new or an empty folder", "name another folder."
        )
    places = [*_class_folders(classes), _UNLABELLED]
    chosen = torch.where(labels.accepted, labels.classes, -1).tolist()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        whole = Path(made) / folder.name
        free, names = FreeNames(), []
        for place in {places[label] for label in chosen}:
            (whole / place).mkdir(parents=True)
        for item, label in enumerate(chosen):
            content, suffix = encoded_picture(images, item)
            names.append(_file_name(free, places[label], images.names[item], suffix))
            (whole / names[-1]).write_bytes(content)
        _write_sources(whole / SOURCES, names, labels)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)


def _write_sources(path: Path, names: Sequence[str], labels: ClassLabels) -> None:
    model = (labels.accepted & (labels.source == int(Source.MODEL))).nonzero().flatten().tolist()
    if not model:
        return
    confidence = labels.confidence.tolist()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "source", "confidence"])
        writer.writerows(
            [written_cell(names[item]), Source.MODEL.name.lower(), f"{confidence[item]:.6g}"]
            for item in model
        )


def write_csv(
    path: Path,
    images: ImageSet,
    labels: ClassLabels,
    classes: Sequence[str],
    held_out: Sequence[Part] = (),
) -> None:
    """A table with the columns file, label, confidence, accepted, source, split; a row per item.

    ``file`` is the item's name. ``label`` is empty where nothing is believed. A label that is not
    accepted is written too; reading it back counts it as none. What a spreadsheet would run as a
    formula has ``'`` in front, which is taken off when leaven reads it. The split is train, but for
    the items of ``held_out``, which follow.
    """
    _check_rows(images, labels)
    with replacing(path) as made, made.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "confidence", "accepted", "source", "split"])
        for part in (Part(images, labels, "train"), *held_out):
            writer.writerows(_csv_rows(part, classes))


def _csv_rows(part: Part, classes: Sequence[str]) -> Iterator[list[str]]:
    labels = part.labels
    rows = zip(
        part.images.names,
        labels.classes.tolist(),
        labels.confidence.tolist(),
        labels.accepted.tolist(),
        labels.source.tolist(),
    )
    for name, label, confidence, accepted, source in rows:
        believed = classes[label] if label >= 0 else ""
        said = str(accepted).lower()
        texts = [written_cell(name), written_cell(believed)]
        yield [*texts, f"{confidence:.6g}", said, Source(source).name.lower(), part.split]


def write_parquet(
    path: Path,
    images: ImageSet,
    labels: ClassLabels,
    classes: Sequence[str],
    held_out: Sequence[Part] = (),
) -> None:
    """A Parquet file with the pictures; a row per item.

    Columns: ``name``, ``image`` (encoded bytes: the original ones where there are such, else
    PNG), ``label`` (int64, null where no label is accepted), ``confidence``, ``weight``,
    ``source`` (nobody, person, model) and ``split``, as for ``write_csv``. The class names are in the schema's metadata ``classes``.
    """
    import pyarrow as pa
    from pyarrow import parquet as pq

    _check_rows(images, labels)
    schema = pa.schema(
        {
            "name": pa.string(),
            "image": pa.binary(),
            "label": pa.int64(),
            "confidence": pa.float32(),
            "weight": pa.float32(),
            "source": pa.string(),
            "split": pa.string(),
        },
        metadata={"classes": json.dumps(list(classes))},
    )
    with replacing(path) as made, pq.ParquetWriter(made, schema) as writer:
        for part in (Part(images, labels, "train"), *held_out):
            for start in range(0, len(part.images), _ROWS_AT_ONCE):
                end = min(start + _ROWS_AT_ONCE, len(part.images))
                columns = _parquet_columns(part, torch.arange(start, end))
                writer.write_table(pa.table(columns, schema=schema))


def _parquet_columns(part: Part, rows: Tensor) -> list[list[Any]]:
    labels = part.labels.select(rows)
    accepted = labels.accepted.tolist()
    return [
        [part.images.names[row] for row in rows.tolist()],
        [encoded_picture(part.images, row)[0] for row in rows.tolist()],
        [label if yes else None for label, yes in zip(labels.classes.tolist(), accepted)],
        labels.confidence.tolist(),
        labels.weight.tolist(),
        [Source(source).name.lower() for source in labels.source.tolist()],
        [part.split] * len(rows),
    ]


def _check_rows(images: ImageSet, labels: ClassLabels) -> None:
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} pictures and {len(labels)} labels")


def encoded_picture(images: ImageSet, item: int) -> tuple[bytes, str]:
    """A picture as the content of a file, and the ending of such a file.

    Raises:
        DataError: it is gone.
    """
    source = None if images.sources is None else images.sources[item]
    if source is None:
        pixels = images.pixels.batch(torch.tensor([item]))[0].cpu().numpy()
        source = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    return encoded(source, images.names[item])


def _class_folders(classes: Sequence[str]) -> list[str]:
    """The class names as names of folders, of which no two are one."""
    free = FreeNames()
    folders: list[str] = []
    for name in classes:
        safe = safe_part(name, also="/%")
        taken = {folder.casefold() for folder in folders}
        if safe.casefold() in _RESERVED | taken:
            safe = first_as_code(safe)
        folders.append(free.take(safe))
    return folders


def _file_name(free: FreeNames, place: str, name: str, suffix: str) -> str:
    """A free name in the folder ``place`` for the picture ``name``."""
    safe = PurePosixPath(safe_part(name.rstrip("/").rpartition("/")[2]))
    same = safe.suffix.lower() == suffix.lower()
    return free.take(f"{place}/{safe.stem if same else safe.name}", suffix) + suffix
