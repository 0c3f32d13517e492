"""Hugging Face data sets that were saved on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from leaven.data.listing import SPLITS, Listing
from leaven.data.readers.parquet import PictureTable, listing_of
from leaven.errors import DataError, MissingExtraError


def is_saved(path: Path) -> bool:
    """Whether ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote this folder."""
    return (path / "dataset_dict.json").is_file() or (
        (path / "dataset_info.json").is_file() and (path / "state.json").is_file()
    )


def read_hub(path: Path) -> Listing:
    """A data set written by ``save_to_disk``, with an Image feature and a label.

    The label is the feature ``label``, or the only ClassLabel; -1 and None are not labelled. A
    data set without splits is all train; splits that are not train, val or test are left out.

    Raises:
        MissingExtraError: the package ``datasets`` is not installed.
        DataError: there is no picture feature or no label feature.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "datasets", "huggingface", "reading a Hugging Face data set"
        ) from error

    # What lies there may be anything, and brings errors of any type.
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:
        raise _damaged(path, error) from error
    parts = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    used = {name: part for name, part in parts.items() if name.lower() in SPLITS}
    if not used:
        raise DataError(
            f"{path} has the splits {', '.join(parts)}.",
            "a split train, and maybe val and test",
            "rename the split that is to be learnt from to train.",
        )
    image, label = _columns(next(iter(used.values())).features, path, datasets)
    classes = getattr(next(iter(used.values())).features[label], "names", None)
    tables = [_table(part, image, label, name, path, datasets) for name, part in used.items()]
    listing = listing_of(path.resolve().name, tables, tuple(classes) if classes else None)
    left_out = sorted(parts.keys() - used.keys())
    if not left_out:
        return listing
    return replace(listing, notes=(f"The splits {', '.join(left_out)} were left out.",))


def _columns(features: Any, path: Path, datasets: Any) -> tuple[str, str]:
    """The names of the picture and of the label feature."""
    pictures = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    image = "image" if "image" in pictures else _only(pictures)
    label = "label" if "label" in features else _only(labels)
    if image is None or label is None:
        missing = "picture" if image is None else "label"
        raise DataError(
            f"{path} has no one {missing} feature; its features are: {', '.join(features)}.",
            "an Image feature (image) and a class (label)",
            "rename the features with rename_column and save the data set again.",
        )
    return image, label


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _table(part: Any, image: str, label: str, name: str, path: Path, datasets: Any) -> PictureTable:
    part = part.select_columns([image, label]).cast_column(image, datasets.Image(decode=False))
    table = part.with_format("arrow")[:].select([image, label]).rename_columns(["image", "label"])
    try:
        # Arrow files are taken as they are: lengths in them may point anywhere.
        table.validate(full=True)
    except pa.ArrowException as error:
        raise _damaged(path, error) from error
    return PictureTable(SPLITS[name.lower()], table, path, name)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is not a whole Hugging Face data set: {str(error)[:300]}.",
        "what save_to_disk writes",
        "save the data set again.",
    )
