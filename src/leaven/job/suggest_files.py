"""Suggestions as files: a table, or a folder of the pictures in their order."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from leaven.atomic import replacing
from leaven.data.encoded import encoded
from leaven.data.formats.folder import new_folder, write_copies
from leaven.errors import DataError
from leaven.job.output_paths import check_file, check_folder
from leaven.job.pictures import run_pictures
from leaven.job.suggest import Suggestions

COLUMNS = ("rank", "item", "score", "why", "believed", "confidence")
TABLE = "suggestions.csv"
"""The table in a folder of pictures."""

SCHEMA = pa.schema(
    [
        ("rank", pa.int32()),
        ("item", pa.string()),
        ("score", pa.float32()),
        ("why", pa.string()),
        ("believed", pa.string()),
        ("confidence", pa.float32()),
    ]
)


def write_suggestions(path: Path, found: Suggestions, data: Path | None = None) -> None:
    """Writes the suggestions as ``.csv`` or ``.parquet``, or as a folder.

    A folder holds copies of the pictures, named by rank and item (``001-cat.png``), and
    ``suggestions.csv`` with the names of these files in the column ``file``.

    Args:
        path: ends in ``.csv`` or ``.parquet``, or is a folder that is empty or not there.
        found: the suggestions.
        data: where the pictures are now, if they were moved.

    Raises:
        DataError: another ending, or a picture is gone.
        RunError: it cannot be written, the folder is not empty, or the pictures of the run are
            gone; what was there before stays whole.
    """
    check_out(path)
    ending = path.suffix.lower()
    if ending == ".csv":
        with replacing(path) as beside:
            _write_csv(beside, found, None)
    elif ending == ".parquet":
        with replacing(path) as beside:
            pq.write_table(pa.Table.from_pylist(_rows(found), schema=SCHEMA), beside)
    else:
        _write_folder(path, found, data)


def check_out(path: Path) -> None:
    """Whether suggestions can be written to ``path``; see ``write_suggestions``.

    Raises:
        DataError: another ending.
        RunError: it cannot be written, or the folder is not empty.
    """
    if path.suffix.lower() in (".csv", ".parquet"):
        check_file(path)
    elif path.suffix and not path.is_dir():
        raise DataError(
            f"Suggestions cannot be written as {path.name}.",
            "a file that ends in .csv or .parquet, or a folder",
            "change --out",
        )
    else:
        check_folder(path, "suggestions", ())


def _rows(found: Suggestions) -> list[dict[str, object]]:
    return [
        {"rank": rank, **{name: getattr(one, name) for name in COLUMNS[1:]}}
        for rank, one in enumerate(found.items, 1)
    ]


def _write_csv(path: Path, found: Suggestions, files: list[str] | None) -> None:
    columns = COLUMNS if files is None else ("file", *COLUMNS)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for place, row in enumerate(_rows(found)):
            row["score"] = f"{row['score']:.6g}"
            if row["confidence"] is not None:
                row["confidence"] = f"{row['confidence']:.6g}"
            writer.writerow(row if files is None else {"file": files[place], **row})


def _write_folder(folder: Path, found: Suggestions, data: Path | None) -> None:
    names = [one.item for one in found.items]
    pictures = run_pictures(found.run, names, data)
    width = max(3, len(str(len(names))))
    # The last part of a name alone: folders of the data would hide the order.
    files = [
        f"{rank:0{width}d}-{name.rstrip('/').rpartition('/')[2]}"
        for rank, name in enumerate(names, 1)
    ]
    with new_folder(folder) as made:
        written = write_copies(
            files,
            lambda item: encoded(pictures[item], names[item]),
            made,
            range(len(files)),
        )
        _write_csv(made / TABLE, found, [written[item] for item in range(len(files))])
