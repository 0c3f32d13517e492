"""The classes that whole pictures show, as evidence beside label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from leaven.data.dataset import ImageSet
from leaven.data.listing import some
from leaven.data.pixel_maps import PixelMaps
from leaven.data.readers.item_tables import SEPARATOR, item_names, open_table, tag_names
from leaven.errors import DataError, nearest
from leaven.plain import brief

MAPS = "maps"
"""In place of a table: the tags are those of the label maps."""

_EXPECTED = (
    f"a CSV or Parquet file with the columns file and tags (names of classes with {SEPARATOR} "
    "between them; empty where the picture shows none)"
)


def with_tags(
    images: ImageSet[PixelMaps], classes: Sequence[str], source: str | Path
) -> ImageSet[PixelMaps]:
    """The same pictures, of which the classes are known.

    Args:
        images: n pictures.
        classes: K names.
        source: a table with a row for each picture, by its name in the data; a picture without a
            row shows what its label map says. Or ``"maps"``: all pictures show what their maps say.

    Raises:
        DataError: the table cannot be read or names pictures or classes that are not there, or a
            picture has neither a row nor a label map.
    """
    position = {name: place for place, name in enumerate(images.names)}
    rows: dict[str, list[str]] = {} if str(source) == MAPS else _rows(Path(source))
    tags = torch.zeros(len(images), len(classes), dtype=torch.bool)
    told = torch.zeros(len(images), dtype=torch.bool)
    unknown = [name for name in rows if name not in position]
    if unknown:
        raise DataError(
            f"{source} names {len(unknown)} of its {len(rows)} pictures as none is named here: "
            f"{some([brief(name) for name in unknown])}.",
            f"names of the pictures, such as {brief(images.names[0])}",
            "correct the names, or remove these rows.",
        )
    column = {name: place for place, name in enumerate(classes)}
    for name, said in rows.items():
        wrong = [tag for tag in said if tag not in column]
        if wrong:
            raise DataError(
                f"{source} has the tag {brief(wrong[0])}, which is no class of the data.",
                nearest(wrong[0], classes),
                "correct the tag.",
            )
        place = position[name]
        tags[place, [column[tag] for tag in said]] = told[place] = True
    mapped = ~told & images.known
    silent = (~told & ~images.known).nonzero().flatten()
    if len(silent):
        names = some([brief(images.names[item]) for item in silent.tolist()])
        raise DataError(
            f"{len(silent)} of {len(images)} pictures have neither tags nor a label map: {names}.",
            "a row for each picture without a map; an empty cell says that it shows no class",
            "add the rows, or move these pictures away.",
        )
    items = mapped.nonzero().flatten()
    tags[items] = classes_of_maps(images.labels, items, len(classes))
    return replace(images, labels=images.labels.with_tags(tags))


def classes_of_maps(maps: PixelMaps, items: Tensor, count: int) -> Tensor:
    """(len(items), K) bool, which of ``count`` classes the maps of pictures show."""
    present = torch.zeros(len(items), count + 1, dtype=torch.bool)
    for row, item in enumerate(items):
        present[row, maps[item[None]].unique()] = True
    return present[:, :count]


def _rows(file: Path) -> dict[str, list[str]]:
    """The tags of each picture that a table names."""
    if not file.is_file():
        raise DataError(f"There is no file {file}.", _EXPECTED, "check the path.")
    table = open_table(file, _EXPECTED)
    names = {name.strip().lower(): name for name in table.column_names}
    if "tags" not in names:
        raise DataError(
            f"{file} has no column tags; it has: {some(table.column_names)}.",
            _EXPECTED,
            "name the column in the first row.",
        )
    items = item_names(table, file, _EXPECTED)
    said = tag_names(table.column(names["tags"]), items, file, _EXPECTED)
    return dict(zip(items, said, strict=True))
