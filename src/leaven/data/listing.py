"""What a reader found: where every picture is, and what was said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leaven.data.sources import SourceList
from leaven.errors import DataError
from leaven.labels.classes import UNKNOWN, Source
from leaven.plain import brief

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""The names of splits as people write them, in lower case, and as leaven calls them."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table say what a picture shows.

    Attributes:
        label: the evidence, what somebody said; it may be wrong.
        truth: what is known to be true, used to measure alone; None where nobody knows.
    """

    label: str = "label"
    truth: str | None = None


_LONGEST_NUMBER, _SHOWN = 18, 300
_NOTHING = frozenset(
    {"nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nil", "?", "-", "unlabelled", "unlabeled"}
)

PLAIN = Columns()
"""The columns where none is named."""


@dataclass(frozen=True)
class Listing:
    """Pictures that were found and not yet decoded.

    Attributes:
        name: what the data are called.
        sources: where the n pictures are.
        names: n stable identifiers.
        labels: (n,) int64, the given class or -1.
        splits: n of "train", "val", "test".
        classes: the class names in the order of their indices.
        notes: what people should know.
        truth: (n,) int64, the true class or -1, where it is told apart from the labels; else None.
        model_confidence: (n,) float32, how sure the model was that gave the label; NaN where no
            model did. None where all labels are of people.
    """

    name: str
    sources: SourceList
    names: Sequence[str]
    labels: Tensor
    splits: Sequence[str]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    truth: Tensor | None = None
    model_confidence: Tensor | None = None


def model_confidence(
    said: Sequence[Any], confidence: Sequence[Any], where: Callable[[int], str]
) -> Tensor | None:
    """How sure the model was that gave a label, by the columns ``source`` and ``confidence`` as
    leaven writes them.

    Args:
        said: n, what the column ``source`` says, in upper or lower case; nothing is a person.
        confidence: n numbers in [0, 1], or texts of them; 1 where there is nothing.
        where: names a row, for errors.

    Returns:
        (n,) float32, NaN where no model gave the label; None where no label is a model's.

    Raises:
        DataError: a source is none that leaven knows, or a confidence is no number in [0, 1].
    """
    sources = [str(one or "").strip().lower() for one in said]
    _check_sources(sources, said, where)
    shares = [_share(one, where, row) for row, one in enumerate(confidence)]
    model = Source.MODEL.name.lower()
    if model not in sources:
        return None
    return torch.tensor(
        [share if one == model else float("nan") for share, one in zip(shares, sources)]
    )


def _check_sources(
    sources: Sequence[str], said: Sequence[Any], where: Callable[[int], str]
) -> None:
    known = [source.name.lower() for source in Source]
    wrong = [row for row, one in enumerate(sources) if one and one not in known]
    if not wrong:
        return
    words = list(dict.fromkeys(brief(said[row]) for row in wrong))
    count = f"; {len(wrong)} rows in all have one that is not: {some(words)}"
    raise DataError(
        f"{where(wrong[0])} has the source {words[0]}, which is not known"
        f"{count if len(wrong) > 1 else ''}.",
        f"{', '.join(known)} or nothing in the column source",
        "write model where no person looked at the label, and person where one did; rename the "
        "column where it is about something else.",
    )


def _share(said: Any, where: Callable[[int], str], row: int) -> float:
    try:
        value = 1.0 if said is None or said == "" else float(said)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0 <= value <= 1:
        raise DataError(
            f"{where(row)} has the confidence {brief(str(said))}.",
            "a number in [0, 1], or nothing",
            "correct the row, or rename the column if it is about something else.",
        )
    return value


def model_note(count: int) -> str:
    """The sentence about ``count`` labels that a model gave."""
    one = count == 1
    return (
        f"{count} {'label was' if one else 'labels were'} given by a model before: "
        f"{'it is' if one else 'they are'} learnt from, and no test or val picture is drawn from "
        f"{'it' if one else 'them'}."
    )


def ordered_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in alphabetical order, or in that of their numbers when all are numbers."""
    distinct = set(names)
    if all(name.isdecimal() and len(name) <= _LONGEST_NUMBER for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def alike_notes(classes: Sequence[str]) -> list[str]:
    """A sentence about class names that differ in upper case or spaces alone, if there are such."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault("".join(name.split()).casefold(), []).append(name)
    alike = [" and ".join(map(brief, group)) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    return [
        f"Classes whose names differ in upper case or spaces alone are counted apart: {some(alike)}. "
        "Give them one name if they are one class."
    ]


def nothing_notes(classes: Sequence[str]) -> list[str]:
    """A sentence about class names that often stand for no label, if there are such."""
    names = [repr(name) for name in classes if name.strip().lower() in _NOTHING]
    if not names:
        return []
    one = len(names) == 1
    return [
        f"{some(names)} {'counts as a class' if one else 'count as classes'} like any other. If "
        f"{'it stands' if one else 'they stand'} for no label, leave the cell empty, or put the "
        "pictures into the folder unlabelled."
    ]


def class_indices(labels: Iterable[str | None], classes: Sequence[str]) -> Tensor:
    """(n,) int64 positions of ``labels`` in ``classes``; -1 for None."""
    position = {name: index for index, name in enumerate(classes)}
    known = [UNKNOWN if label is None else position[label] for label in labels]
    return torch.tensor(known, dtype=torch.int64)


def some(names: Sequence[str], count: int = 5) -> str:
    """The first names as a list in words, and how many more there are; very long ones are cut."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    short = [name if len(name) <= _SHOWN else name[:_SHOWN] + "..." for name in names[:count]]
    return ", ".join(short) + more


def absent_note(classes: Sequence[str], there: Tensor) -> list[str]:
    """A note of the classes that ``there`` (bool, by class) lacks, if there are any."""
    absent = [name for name, found in zip(classes, there.tolist(), strict=False) if not found]
    return [f"Nothing in the pictures is of the class {some(absent)}."] if absent else []


def allowed_unreadable(count: int, share: float | None) -> int:
    """How many of ``count`` pictures may be unreadable: ``share * count`` and no more.

    Where nobody said a share (None): the larger of 1 % and min(3, count // 10), but at least one.
    """
    if share is None:
        return max(1, min(3, count // 10), count // 100)
    # 0.29 * 100 is a little less than 29.
    return int(round(share * count, 6))
