"""Pictures with captions: text files beside them, a table, or what a captioner wrote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import torch

from leaven.data.captioned_listing import CaptionedListing, tidy
from leaven.data.csv_cells import read_cell
from leaven.data.listing import Listing, class_indices, ordered_classes, some
from leaven.data.readers import read
from leaven.data.readers.csv_file import csv_rows
from leaven.data.readers.folder import find_pictures, others_note
from leaven.data.readers.parquet import PictureTable, listing_of, split_files
from leaven.data.readers.parquet_file import is_words, open_parquet, read_columns
from leaven.data.sources import SourceList
from leaven.errors import DataError, RunError
from leaven.labels.classes import Source
from leaven.labels.described import Described
from leaven.labels.store import LabelStore
from leaven.plain import is_text

CAPTIONS = ("caption", "text", "prompt", "description")
"""Names of a column of captions, the first that is there is taken."""

_ITEMS = ("file", "file_name", "image", "item", "name")
_FILES = ("captions.csv", "metadata.csv")
_MARKS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
_LARGEST = 1_000_000
_EXPECTED = (
    "a folder of pictures with a .txt file beside each or with captions.csv (columns file,caption), "
    "a Parquet file with the columns image and caption, or captions of `leaven caption` as --labels"
)


@dataclass(frozen=True)
class _Said:
    """What is said of items: by item the caption, the class and whether it is marked; and notes."""

    texts: dict[str, str]
    classes: dict[str, str] = field(default_factory=dict)
    good: dict[str, bool] = field(default_factory=dict)
    source: Source = Source.PERSON
    notes: tuple[str, ...] = ()


def read_captioned(
    path: Path,
    captions: Path | None = None,
    column: str | None = None,
    *,
    need_captions: bool = True,
) -> CaptionedListing:
    """Finds out what lies at ``path``, and what is said of the pictures.

    Args:
        path: a folder of pictures, a Parquet file, or a folder of Parquet files.
        captions: a CSV or Parquet file with captions by file or item, or the folder of the labels
            that `leaven caption` wrote.
        column: of the captions; the first of ``CAPTIONS`` that is there when None.
        need_captions: whether pictures without any caption are refused.

    Raises:
        DataError: there are no pictures or no captions, or something that is no text.
    """
    if not path.exists():
        raise DataError(f"There is no file or folder {path}.", _EXPECTED, "check the path.")
    tables = split_files(path) if path.is_dir() else [("train", path)]
    if path.is_file() or tables:
        wanted = captions is None and (need_captions or _has_captions(tables, column))
        listing, said = _of_tables(path, tables, column, wanted)
        if said is None and captions is None:
            said = _Said({})
    else:
        listing, said = read(path, need_labels=False), None
    if captions is not None:
        said = _of_file(captions, column)
    elif said is None:
        said = _of_folder(path, listing, column, need_captions)
    return _listed(path, listing, said, need_captions=need_captions)


def _has_captions(tables: list[tuple[str, Path]], column: str | None) -> bool:
    """Whether a column was named, or one of the usual names is in the first of the files."""
    if column is not None:
        return True
    names = open_parquet(tables[0][1], _EXPECTED).schema_arrow.names
    return any(name in names for name in CAPTIONS)


def _listed(path: Path, listing: Listing, said: _Said, *, need_captions: bool) -> CaptionedListing:
    names = list(listing.names)
    texts, more = tidy([said.texts.get(name, "") for name in names])
    if not any(texts) and need_captions:
        raise DataError(
            f"No picture of {path} has a caption"
            + (f"; there are captions of {some(list(said.texts), 3)}." if said.texts else "."),
            _EXPECTED,
            "write captions with `leaven caption`, or name the items as the pictures are named.",
        )
    known = set(names)
    foreign = [item for item in said.texts if item not in known]
    if foreign:
        more.append(
            f"{len(foreign)} captions are of no picture here and were left out: {some(foreign, 3)}."
        )
    classes, indices = listing.classes, listing.labels
    if said.classes:
        classes = ordered_classes(said.classes.values())
        indices = class_indices([said.classes.get(name) for name in names], classes)
    if len(classes) < 2:  # A single folder says nothing of a picture.
        classes, indices = (), torch.full((len(names),), -1, dtype=torch.int64)
    good = torch.tensor([said.good.get(name, False) for name in names], dtype=torch.bool)
    described = Described.of(texts, said.source, indices, good)
    sources: SourceList = listing.sources
    return CaptionedListing(
        listing.name, sources, names, listing.splits, described, classes, (*said.notes, *more)
    )


def _of_folder(path: Path, listing: Listing, column: str | None, needed: bool) -> _Said:
    """The captions that lie in a folder."""
    for name in _FILES:
        if (path / name).is_file():
            header, rows = _csv(path / name)
            if needed or column is not None or not {*CAPTIONS}.isdisjoint(header):
                return _of_rows(header, rows, column, path / name)
    found = find_pictures(path)
    beside = {str(PurePosixPath(name).with_suffix("")): name for name in found.others
              if name.lower().endswith(".txt")}  # fmt: skip
    texts, broken = {}, []
    for name in listing.names:
        file = beside.get(str(PurePosixPath(name).with_suffix("")))
        if file is None:
            continue
        text = _text_of(path / file)
        if text is None:
            broken.append(file)
        else:
            texts[name] = text
    notes = []
    others = [name for name in found.others if not name.lower().endswith(".txt")]
    if others:
        notes.append(others_note(others))
    if broken:
        were = (
            "file is no text in UTF-8 and was" if len(broken) == 1 else "files are no text and were"
        )
        notes.append(f"{len(broken)} {were} left out: {some(broken)}.")
    return _Said(texts, notes=tuple(notes))


def _text_of(file: Path) -> str | None:
    """What a text file says, up to a million letters; None where it is no text."""
    with file.open("rb") as opened:
        content = opened.read(_LARGEST)
    try:
        text = content.decode("utf-8-sig", "strict" if len(content) < _LARGEST else "ignore")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _of_file(file: Path, column: str | None) -> _Said:
    """The captions in a CSV file, a Parquet file or a label store."""
    if file.is_dir():
        return _of_store(file)
    if not file.is_file():
        raise DataError(f"There are no captions at {file}.", _EXPECTED, "check the path.")
    if file.suffix.lower() in (".parquet", ".pq"):
        return _of_parquet(file, column)
    return _of_rows(*_csv(file), column, file)


def _of_store(folder: Path) -> _Said:
    store = LabelStore(folder / "labels" if (folder / "labels").is_dir() else folder)
    try:
        found = store.read_captions()
    except RunError as error:
        raise DataError(
            f"{folder} holds no captions: {error.found}",
            "the folder that `leaven caption` wrote",
            "check the path.",
        ) from error
    model = bool((found.labels.source == int(Source.MODEL)).any())
    texts = dict(zip(found.names, found.labels.texts, strict=True))
    return _Said(texts, source=Source.MODEL if model else Source.PERSON)


def _csv(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The column names of a CSV file in small letters, and its rows by them."""
    (_, first), *rest = csv_rows(file, _ITEMS, _EXPECTED) or [(0, [])]
    header = [name.strip().lower() for name in first]
    return header, [dict(zip(header, cells)) for _, cells in rest]


def _of_rows(
    header: list[str], rows: list[dict[str, str]], column: str | None, file: Path
) -> _Said:
    wanted = None if column is None else column.strip().lower()
    item, caption = _column(header, _ITEMS, None, file), _column(header, CAPTIONS, wanted, file)
    values = [{name: read_cell(cell.strip()) for name, cell in row.items()} for row in rows]
    nameless = [number for number, row in enumerate(values, 1) if not row.get(item)]
    if nameless:
        raise DataError(
            f"Row {nameless[0]} of {file} names no picture.",
            f"one in the column {item} of each row",
            "correct the table.",
        )
    items = [PurePosixPath(row[item].replace("\\", "/")).as_posix() for row in values]
    return _said(
        items,
        [row.get(caption, "") for row in values],
        [row.get("label", row.get("class", "")) for row in values],
        [row.get("good", "") for row in values],
        file,
    )


def _of_parquet(file: Path, column: str | None) -> _Said:
    names = open_parquet(file, _EXPECTED).schema_arrow.names
    item = _column(names, ("item", *_ITEMS), None, file)
    caption = _column(names, CAPTIONS, column, file)
    table = read_columns(file, [item, caption], ["label", "class", "good", "source"], _EXPECTED)
    said = _said(
        _words(table, item, file),
        _words(table, caption, file),
        _any(table, ("label", "class")),
        _any(table, ("good",)),
        file,
    )
    model = "model" in _any(table, ("source",))
    return replace(said, source=Source.MODEL) if model else said


def _of_tables(
    path: Path, files: list[tuple[str, Path]], column: str | None, needed: bool
) -> tuple[Listing, _Said | None]:
    """Pictures in Parquet files, and what these say of them."""
    tables, texts, marks = [], list[str](), list[Any]()
    for split, file in files:
        names = open_parquet(file, _EXPECTED).schema_arrow.names
        caption = _column(names, CAPTIONS, column, file) if needed else None
        wanted = ["image"] if caption is None else ["image", caption]
        read = read_columns(file, wanted, ["name", "label", "class", "good"], _EXPECTED)
        label = next((name for name in ("label", "class") if name in read.column_names), None)
        none = pa.chunked_array([pa.nulls(len(read), pa.string())])
        columns = {"image": read["image"], "label": none if label is None else read[label]}
        if "name" in read.column_names:
            columns["name"] = read["name"]
        prefix = file.stem if len(files) > 1 or path.is_dir() else path.stem
        tables.append(PictureTable(split, pa.table(columns), file.parent, prefix))
        if caption is not None:
            texts += _words(read, caption, file)
            marks += _any(read, ("good",))
    name = path.resolve().name if path.is_dir() else path.stem
    listing = listing_of(name, tables, None)
    if not needed:
        return listing, None
    items = list(listing.names)
    return listing, _said(items, texts, [""] * len(items), marks, path)


def _said(
    items: Sequence[str],
    texts: Sequence[str],
    classes: Sequence[str],
    marks: Sequence[Any],
    file: Path,
) -> _Said:
    wrong = [mark for mark in marks if str(mark or "").strip().lower() not in _MARKS]
    if wrong:
        raise DataError(
            f"{file} has {str(wrong[0])[:60]!r} in the column good.", "true, false or nothing",
            "correct the column.",
        )  # fmt: skip
    broken = [text for text in texts if not is_text(text) or "\0" in text]
    if broken:
        raise DataError(
            f"{file} has {len(broken)} captions that are no text.", "captions in UTF-8",
            "write the file again.",
        )  # fmt: skip
    first, several = dict[str, str](), dict[str, None]()
    for item, text in zip(items, texts, strict=True):
        if not first.get(item):
            first[item] = text
        elif text and text != first[item]:
            several[item] = None
    notes = []
    if several:
        have = "1 picture has" if len(several) == 1 else f"{len(several)} pictures have"
        notes.append(f"{have} several captions, the first is taken: {some(list(several), 3)}.")
    return _Said(
        first,
        {item: name for item, name in zip(items, classes, strict=True) if name},
        {
            item: _MARKS[str(mark or "").strip().lower()]
            for item, mark in zip(items, marks, strict=True)
        },
        notes=tuple(notes),
    )


def _column(names: Sequence[str], known: Iterable[str], wanted: str | None, file: Path) -> str:
    """The column that is wanted, or the first of the ``known`` ones."""
    for name in known if wanted is None else (wanted,):
        if name in names:
            return name
    missing = " or ".join(known) if wanted is None else wanted
    raise DataError(
        f"{file} has no column {missing}; it has: {', '.join(names) or '(none)'}.",
        _EXPECTED,
        "name the columns so, or name the column of captions with --label-column NAME (of `leaven caption`: --raw-column).",
    )


def _words(table: pa.Table, column: str, file: Path) -> list[str]:
    kind = table.schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (is_words(kind) or pa.types.is_null(kind)):
        raise DataError(
            f"The column {column} of {file} has the type {str(kind)[:200]}.",
            "text",
            "name the column of captions with --label-column NAME (of `leaven caption`: --raw-column).",
        )
    return [value or "" for value in table[column].to_pylist()]


def _any(table: pa.Table, names: Iterable[str]) -> list[str]:
    """The values of the first of these columns as text; empty where there is none."""
    for name in names:
        if name in table.column_names:
            values = table[name].to_pylist()
            return ["" if value is None else str(value) for value in values]
    return [""] * len(table)
