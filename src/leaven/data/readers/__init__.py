"""Readers: from a place on disk to a ``Listing``. Each knows one layout."""

from __future__ import annotations

from pathlib import Path

from leaven.data.listing import PLAIN, Columns, Listing
from leaven.data.readers.archives import refuse_archive
from leaven.errors import DataError

_EXPECTED = (
    "an image folder, a folder with labels.csv, a .parquet file, a folder with train.parquet, "
    'a Hugging Face data set saved on disk, "torchvision:NAME@ROOT" or "digits"'
)


def read(
    path: Path,
    labels: Path | None = None,
    columns: Columns | None = None,
    *,
    need_labels: bool = True,
) -> Listing:
    """Finds out what lies at ``path`` and lists its pictures.

    Args:
        path: a folder or a Parquet file.
        labels: a CSV file with the columns ``file`` and ``label`` for an image folder; a
            ``labels.csv`` inside the folder is found without it.
        columns: where a table says what a picture shows; ``label`` alone when None.
        need_labels: whether an image folder without class folders is refused.

    Raises:
        DataError: there is nothing at ``path``, or nothing that leaven reads.
        MissingExtraError: a Hugging Face data set, and ``datasets`` is not installed.
    """
    if not path.exists():
        raise DataError(
            f"There is no file or folder {path}.", _EXPECTED, _look_near(path) or "check the path."
        )
    if labels is not None and not labels.is_file():
        raise DataError(
            f"There is no labels file {labels}.",
            "a CSV file with the columns file and label",
            "check the path given for the labels.",
        )
    if path.is_file():
        return _read_file(path, labels, columns or PLAIN)
    if labels is not None:
        return _with_table(path, labels, columns or PLAIN)

    from leaven.data.readers import folder, hub, parquet

    if not hub.is_saved(path):
        if parquet.split_files(path):
            return parquet.read_parquet(path, columns or PLAIN)
        if (path / "labels.csv").is_file():
            return _with_table(path, path / "labels.csv", columns or PLAIN)
    if columns is not None:
        raise no_columns(str(path))
    if hub.is_saved(path):
        return hub.read_hub(path)
    return folder.read_folder(path, need_labels=need_labels)


def no_columns(source: str) -> DataError:
    """The error where columns were named of data that have none."""
    return DataError(
        f"A label column was named, and {source} has no columns to choose from.",
        "a Parquet file or a CSV file of labels, where columns can be chosen",
        "leave the column out, or give the labels as a CSV file.",
    )


def _with_table(path: Path, labels: Path, columns: Columns) -> Listing:
    from leaven.data.readers import table

    return table.read_table(path, labels, columns)


def _read_file(path: Path, labels: Path | None, columns: Columns) -> Listing:
    refuse_archive(path, _EXPECTED)
    if path.suffix.lower() not in (".parquet", ".pq"):
        do = "give the folder that holds the pictures."
        if path.suffix.lower() == ".csv":
            do = f"give the folder of the pictures as the data and this file as --labels {path}."
        raise DataError(f"{path} is a file of unknown kind.", _EXPECTED, do)
    if labels is not None:
        raise DataError(
            f"A labels file ({labels}) was given with the Parquet file {path}.",
            "labels in the column `label` of the Parquet file",
            "leave the labels file out, or give the folder of the pictures instead.",
        )
    from leaven.data.readers import parquet

    return parquet.read_parquet(path, columns)


def _look_near(path: Path) -> str:
    from difflib import get_close_matches

    if not path.parent.is_dir():
        return ""
    close = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=3)
    return (
        f"did you mean {' or '.join(str(path.parent / name) for name in close)}?" if close else ""
    )
