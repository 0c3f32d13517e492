"""Writers: a labelled data set as an image folder, a CSV file or a Parquet file.

Each writes beside the place and moves the whole there, so that a crash leaves nothing half done.
What is written is read back by ``open_data``.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch
from PIL import Image

from leaven.atomic import replacing
from leaven.data.dataset import ImageSet
from leaven.data.listing import SPLITS
from leaven.errors import DataError
from leaven.labels.classes import ClassLabels, Source

_UNLABELLED = "unlabelled"
_RESERVED = {_UNLABELLED, "unlabeled", *SPLITS}
_NOT_IN_NAMES = set('/\\:*?"<>|%')
_PNG = ".png"
_ROWS_AT_ONCE = 512


def write_folder(
    folder: Path, images: ImageSet, labels: ClassLabels, classes: Sequence[str]
) -> None:
    """A folder per class with the pictures whose label is accepted, the others in ``unlabelled/``.

    Pictures that came from files or bytes are copied as they are, in full size; others become
    PNG. A file keeps its name; one that is already taken in its class gets a number. Characters
    of class names that no file system takes are written as ``%`` and their code.

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
    places = [_folder_name(name) for name in classes] + [_UNLABELLED]
    chosen = torch.where(labels.accepted, labels.classes, -1).tolist()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        whole = Path(made) / folder.name
        taken: set[str] = set()
        for place in {places[label] for label in chosen}:
            (whole / place).mkdir(parents=True)
        for item, label in enumerate(chosen):
            content, suffix = _encoded(images, item)
            name = _free_name(places[label], PurePosixPath(images.names[item]), suffix, taken)
            (whole / name).write_bytes(content)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)


def write_csv(path: Path, images: ImageSet, labels: ClassLabels, classes: Sequence[str]) -> None:
    """A table with the columns file, label, confidence, accepted, source; a row per item.

    ``file`` is the item's name. ``label`` is empty where nothing is believed. A label that is not
    accepted is written too; reading it back counts it as none.
    """
    _check_rows(images, labels)
    with replacing(path) as made, made.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "confidence", "accepted", "source"])
        rows = zip(
            images.names,
            labels.classes.tolist(),
            labels.confidence.tolist(),
            labels.accepted.tolist(),
            labels.source.tolist(),
        )
        for name, label, confidence, accepted, source in rows:
            believed = classes[label] if label >= 0 else ""
            said = str(accepted).lower()
            writer.writerow(
                [name, believed, f"{confidence:.6g}", said, Source(source).name.lower()]
            )


def write_parquet(
    path: Path, images: ImageSet, labels: ClassLabels, classes: Sequence[str]
) -> None:
    """A Parquet file with the pictures; a row per item.

    Columns: ``name``, ``image`` (encoded bytes: the original ones where there are such, else
    PNG), ``label`` (int64, null where no label is accepted), ``confidence``, ``weight`` and
    ``source`` (nobody, person, model). The class names are in the schema's metadata ``classes``.
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
        },
        metadata={"classes": json.dumps(list(classes))},
    )
    with replacing(path) as made, pq.ParquetWriter(made, schema) as writer:
        for start in range(0, len(images), _ROWS_AT_ONCE):
            rows = torch.arange(start, min(start + _ROWS_AT_ONCE, len(images)))
            part = labels.select(rows)
            accepted = part.accepted.tolist()
            columns = [
                [images.names[row] for row in rows.tolist()],
                [_encoded(images, row)[0] for row in rows.tolist()],
                [label if yes else None for label, yes in zip(part.classes.tolist(), accepted)],
                part.confidence.tolist(),
                part.weight.tolist(),
                [Source(source).name.lower() for source in part.source.tolist()],
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _check_rows(images: ImageSet, labels: ClassLabels) -> None:
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} pictures and {len(labels)} labels")


def _encoded(images: ImageSet, item: int) -> tuple[bytes, str]:
    """The picture as the content of a file, and the ending of such a file."""
    source = None if images.sources is None else images.sources[item]
    if isinstance(source, Path):
        return source.read_bytes(), source.suffix
    if isinstance(source, bytes):
        with Image.open(io.BytesIO(source)) as image:
            return source, f".{(image.format or 'png').lower()}"
    if source is None:
        pixels = images.pixels.batch(torch.tensor([item]))[0].cpu().numpy()
        source = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    source.save(buffer, "PNG")
    return buffer.getvalue(), _PNG


def _folder_name(name: str) -> str:
    """The class name as the name of a folder."""
    safe = "".join(
        f"%{ord(letter):02X}" if letter in _NOT_IN_NAMES or ord(letter) < 32 else letter
        for letter in name
    )
    if not safe or safe.startswith(".") or safe.lower() in _RESERVED:
        return f"%{ord(safe[0]):02X}{safe[1:]}" if safe else "%"
    return safe


def _free_name(place: str, name: PurePosixPath, suffix: str, taken: set[str]) -> str:
    stem = name.stem if name.suffix.lower() == suffix.lower() else name.name
    wanted, number = f"{place}/{stem}{suffix}", 1
    # Some file systems do not tell upper from lower case.
    while wanted.casefold() in taken:
        number += 1
        wanted = f"{place}/{stem}-{number}{suffix}"
    taken.add(wanted.casefold())
    return wanted
