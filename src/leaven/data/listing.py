"""What a reader found: where every picture is, and what was said of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.data.sources import SourceList
from leaven.labels.classes import UNKNOWN, Source

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
        by_model: (n,) bool, whose label a model gave; None where all are of people.
    """

    name: str
    sources: SourceList
    names: Sequence[str]
    labels: Tensor
    splits: Sequence[str]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    truth: Tensor | None = None
    by_model: Tensor | None = None


def labels_by_model(said: Sequence[str | None]) -> Tensor | None:
    """(n,) bool: whose label a model gave, by what a column ``source`` says as leaven writes it.

    None where the column says something else, or where no label is a model's.
    """
    sources = [(one or "").lower() for one in said]
    model = Source.MODEL.name.lower()
    if model not in sources or not {source.name.lower() for source in Source} | {""} >= {*sources}:
        return None
    return torch.tensor([one == model for one in sources])


def model_note(by_model: Tensor, labels: Tensor) -> str:
    """The sentence about labels that a model gave."""
    count = int((by_model & (labels >= 0)).sum())
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
    alike = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    return [
        f"Classes whose names differ in upper case or spaces alone are counted apart: {some(alike)}. "
        "Give them one name if they are one class."
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


def allowed_unreadable(count: int, share: float) -> int:
    """How many of ``count`` pictures may be unreadable: the larger of ``share * count`` and
    min(3, count // 10), but at least one; none where the share is 0."""
    return 0 if share == 0 else max(1, min(3, count // 10), int(share * count))
