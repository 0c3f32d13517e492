"""A folder of pictures with a CSV file of labels."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from leaven.data.csv_cells import read_cell
from leaven.data.listing import (
    PLAIN,
    SPLITS,
    Columns,
    Listing,
    class_indices,
    model_confidence,
    ordered_classes,
    some,
)
from leaven.data.readers.csv_file import csv_rows
from leaven.data.readers.folder import Found, find_pictures, others_note, split_of
from leaven.errors import DataError
from leaven.plain import brief, counted

_COLUMNS = "a CSV file with a header row and the columns file and label (and maybe split)"
_MOST_COMPARED, _LONGEST_COMPARED = 5000, 200
_OPTIONAL = {"split", "accepted", "source", "confidence"}
_YES, _NO = {"", "true", "1", "yes"}, {"false", "0", "no"}


@dataclass(frozen=True)
class _Row:
    line: int
    file: str
    label: str | None
    split: str | None
    accepted: bool
    truth: str | None
    source: str
    confidence: str


def read_table(path: Path, labels: Path, columns: Columns = PLAIN) -> Listing:
    """The pictures below ``path`` with the labels that the CSV file ``labels`` gives them.

    Columns: ``file`` (relative to ``path``), ``label`` (empty: not labelled), and where there
    are such ``split`` (train, val or test), ``accepted`` (false: the label is a proposal that
    was not accepted, and counts as none), ``source`` (person, model or nobody) and, of labels of a
    model, ``confidence``. Pictures without a row have no label. ``columns`` names the column of
    labels where it is not ``label``, and one that holds the truth, which is what the rows of the
    split test have for their label.

    Raises:
        DataError: a column is missing or comes twice, a row names no file or an unknown one, an
            unknown split or source, or two rows give one file different labels.
    """
    found = find_pictures(path)
    rows, notes = _distinct(_rows(labels, columns, set(found.pictures)), labels)
    _check_files(rows, found, path, labels)
    by_file = {row.file: row for row in rows}
    given = [by_file.get(name) for name in found.pictures]
    said = [name for row in rows for name in (row.label, row.truth)]
    classes = ordered_classes(name for name in said if name is not None)
    refused = sum(not row.accepted for row in rows)
    if refused:
        notes.append(
            f"{counted(refused, 'row')} of {labels.name} not accepted, taken as unlabelled."
        )
    if found.others:
        notes.append(others_note(found.others))
    splits, others = found.mixed
    if splits and not any(row.split for row in rows):
        notes.append(
            f"The folders {some([*splits, *others])} lie side by side, so none counts as a split and "
            "every picture as train. Add the column split where some are test or val pictures."
        )
    return Listing(
        path.resolve().name,
        [path / name for name in found.pictures],
        found.pictures,
        class_indices([row.label if row and row.accepted else None for row in given], classes),
        [
            row.split if row and row.split else split_of(name, found.has_splits)
            for name, row in zip(found.pictures, given)
        ],
        classes,
        tuple(notes),
        class_indices([row.truth if row else None for row in given], classes)
        if columns.truth is not None
        else None,
        model_confidence(
            [row.source if row else None for row in given],
            [row.confidence if row else None for row in given],
            lambda index: f"The row of {found.pictures[index]} in {labels.name}",
        ),
    )


def _rows(labels: Path, columns: Columns, pictures: set[str]) -> list[_Row]:
    wanted = ("file", columns.label, *([] if columns.truth is None else [columns.truth]))
    (_, first), *rest = csv_rows(labels, {"file"}, _COLUMNS) or [(0, [])]
    header = [column.strip().lower() for column in first]
    missing = [column for column in wanted if column.lower() not in header]
    if missing:
        raise DataError(
            f"{labels} has no column {' and no column '.join(missing)}; "
            f"its first row is: {some(header, 20) or '(empty)'}.",
            _COLUMNS,
            "name the columns in the first row.",
        )
    used = {column.lower() for column in wanted} | _OPTIONAL
    twice = [column for column in header if column in used and header.count(column) > 1]
    if twice:
        raise DataError(
            f"{labels} has the column {twice[0]} more than once.",
            _COLUMNS,
            "rename or remove one of them.",
        )
    rows = [(dict(zip(header, cells)), line) for line, cells in rest]
    nameless = [str(line) for values, line in rows if not values.get("file", "").strip()]
    if nameless:
        one = len(nameless) == 1
        raise DataError(
            f"{'Line' if one else 'Lines'} {some(nameless)} of {labels} {'has' if one else 'have'} "
            "no file.",
            "the path of a picture in the column file of each row",
            "write it, or remove the row.",
        )
    return [_row(values, line, labels, columns, pictures) for values, line in rows]


def _row(
    values: dict[str, str], line: int, labels: Path, columns: Columns, pictures: set[str]
) -> _Row:
    cell = values.get("file", "")
    values = {column: read_cell(value.strip()) for column, value in values.items()}
    split = values.get("split", "").lower()
    if split and split not in SPLITS:
        raise DataError(
            f"Line {line} of {labels} has the split {brief(split)}.",
            "train, val, test or nothing",
            "correct the row.",
        )
    accepted = values.get("accepted", "").lower()
    if accepted not in _YES | _NO:
        raise DataError(
            f"Line {line} of {labels} has {brief(accepted)} in the column accepted.",
            "true, false or nothing",
            "correct the row.",
        )
    # A name is taken as it stands where a file has it: also with spaces at its ends, or "\\" in it.
    plain = PurePosixPath(values.get("file", "").replace("\\", "/")).as_posix()
    file = next((name for name in (read_cell(cell), cell) if name in pictures), plain)
    part = SPLITS[split] if split else None
    truth = None if columns.truth is None else values.get(columns.truth.lower()) or None
    said = values.get(columns.label.lower()) or None
    label = truth if part == "test" and columns.truth is not None else said
    return _Row(
        line,
        file,
        label,
        part,
        accepted in _YES,
        truth,
        values.get("source", ""),
        values.get("confidence", ""),
    )


def _distinct(rows: list[_Row], labels: Path) -> tuple[list[_Row], list[str]]:
    """One row per file, and a note about rows that came twice."""
    first: dict[str, _Row] = {}
    conflicts, repeated = [], []
    for row in rows:
        earlier = first.setdefault(row.file, row)
        if earlier is row:
            continue
        same = (earlier.label, earlier.split, earlier.accepted)
        if same == (row.label, row.split, row.accepted):
            repeated.append(row.file)
        else:
            conflicts.append(
                f"{row.file} (line {earlier.line}: {_told(earlier)}, line {row.line}: {_told(row)})"
            )
    if conflicts:
        raise DataError(
            f"{labels} says different things of the same file: {some(conflicts)}.",
            "one row per file",
            "decide which row is right and remove the other.",
        )
    if not repeated:
        return rows, []
    times = (
        "row of {} repeats an earlier row"
        if len(repeated) == 1
        else "rows of {} repeat earlier rows"
    )
    note = f"{len(repeated)} {times.format(labels.name)} and {'was' if len(repeated) == 1 else 'were'} left out: {some(repeated)}."
    return list(first.values()), [note]


def _told(row: _Row) -> str:
    return brief(row.label) if row.label else "no label"


def _check_files(rows: list[_Row], found: Found, path: Path, labels: Path) -> None:
    there = set(found.pictures)
    unknown = [row for row in rows if row.file not in there]
    if not unknown:
        return
    near = [_nearest(row.file, found.pictures) for row in unknown[:3]]
    hints = [f"{row.file} -> {name}" for row, name in zip(unknown, near) if name]
    count = len(unknown)
    listed = some([f"{row.file} (line {row.line})" for row in unknown])
    raise DataError(
        f"{labels} names {count} {'file that is' if count == 1 else 'files that are'} "
        f"not a picture in {path}: {listed}.",
        "paths relative to that folder",
        "correct the rows" + (f"; the nearest names are: {', '.join(hints)}." if hints else "."),
    )


def _nearest(file: str, pictures: list[str]) -> str | None:
    """A picture of the same name elsewhere, or else of a similar path."""
    base = PurePosixPath(file).name.lower()
    for name in pictures:
        if PurePosixPath(name).name.lower() == base:
            return name
    stem = PurePosixPath(base).stem
    for name in pictures:
        if PurePosixPath(name).stem.lower() == stem:
            return name
    if len(file) > _LONGEST_COMPARED:
        return None
    close = get_close_matches(file, pictures[:_MOST_COMPARED], n=1, cutoff=0.5)
    return close[0] if close else None
