"""What a run believes of its items, task by task, as what to label next is chosen from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.errors import DataError
from leaven.job.looks import Looks
from leaven.labels import BoxLabels, ClassLabels, LabelStore, Source
from leaven.labels.pixel_table import PixelRound
from leaven.quality.acquisition import (
    UNCERTAINTY,
    Acceptance,
    box_disagreement,
    box_uncertainty,
    disagreement,
    per_picture,
    pixel_disagreement,
)

UNSURE = (0.25, 0.75)
"""A box with a score in between is called unsure."""

SHOWN = 3
"""Classes that are named of a picture."""


class Beliefs(ABC):
    """What a run believes of its n items.

    Attributes:
        names: n item ids.
        classes: K class names.
        labelled: (n,) bool, a person labelled the item before the run.
        needs_looks: what it is unsure of takes the model and the pictures.
    """

    names: list[str]
    classes: list[str]
    labelled: Tensor
    needs_looks: bool = False

    @abstractmethod
    def values(self, rows: Tensor, looks: Looks | None, target: float) -> dict[str, Tensor]:
        """How unsure the model is of ``rows`` (m,), by name, (m,) each; see ``Pool``."""

    def probs(self, rows: Tensor, looks: Looks | None) -> Tensor | None:
        """(m, K) where an item has one label, else None."""
        return None

    @abstractmethod
    def against(self, other: Beliefs, rows: Tensor, theirs: Tensor) -> Tensor:
        """(m,) how much ``other`` says something else; its rows are ``theirs``, -1 where it does
        not know the item."""

    @abstractmethod
    def believed(self, row: int, at: int, looks: Looks | None) -> str:
        """What the model believes of an item, in words; ``at`` is its place among ``looks``."""

    @abstractmethod
    def confidence(self, row: int) -> float | None:
        """How sure it is of that."""

    @abstractmethod
    def doubt(self, row: int, at: int, looks: Looks | None) -> str:
        """What it is unsure of, in words."""


class ClassBeliefs(Beliefs):
    """Of a run on classes of items."""

    def __init__(self, names: list[str], labels: ClassLabels, classes: list[str]) -> None:
        self.names, self.classes, self._labels = names, classes, labels
        self.labelled = labels.source == int(Source.PERSON)
        self.needs_looks = labels.probs is None

    def probs(self, rows: Tensor, looks: Looks | None) -> Tensor:
        if self._labels.probs is not None:
            return self._labels.probs[rows]
        assert looks is not None and looks.probs is not None
        return looks.probs

    def values(self, rows: Tensor, looks: Looks | None, target: float) -> dict[str, Tensor]:
        probs = self.probs(rows, looks)
        return {name: unsure(probs) for name, unsure in UNCERTAINTY.items()}

    def against(self, other: Beliefs, rows: Tensor, theirs: Tensor) -> Tensor:
        assert isinstance(other, ClassBeliefs)
        _same_classes(self, other)
        pair = [self._said(rows), other._said(theirs.clamp_min(0))]
        return torch.where(theirs >= 0, disagreement(pair), 0.0)

    def _said(self, rows: Tensor) -> Tensor:
        """(m, K) the distributions, or certainty of the class that is believed where there are
        none; even where nothing is believed."""
        if self._labels.probs is not None:
            return self._labels.probs[rows]
        classes, count = self._labels.classes[rows], len(self.classes)
        sure = torch.nn.functional.one_hot(classes.clamp_min(0), count).float()
        return torch.where(classes[:, None] >= 0, sure, 1 / count)

    def _two(self, row: int, at: int, looks: Looks | None) -> list[tuple[str, float]]:
        own = self._labels.probs
        if own is not None:
            probs = own[row]
        elif looks is not None and looks.probs is not None:
            probs = looks.probs[at]
        else:
            probs = self._said(torch.tensor([row]))[0]
        value, place = probs.topk(min(2, len(probs)))
        pairs = zip(place.tolist(), value.tolist(), strict=True)
        return [(self.classes[k], chance) for k, chance in pairs]

    def believed(self, row: int, at: int, looks: Looks | None) -> str:
        return self._two(row, at, looks)[0][0]

    def confidence(self, row: int) -> float | None:
        return float(self._labels.confidence[row])

    def doubt(self, row: int, at: int, looks: Looks | None) -> str:
        return " or ".join(f"{name} ({_percent(p)})" for name, p in self._two(row, at, looks))


class BoxBeliefs(Beliefs):
    """Of a run on boxes, or boxes with masks."""

    def __init__(self, names: list[str], labels: BoxLabels, classes: list[str]) -> None:
        self.names, self.classes, self._labels = names, classes, labels
        of_person = _count(labels, labels.source == int(Source.PERSON)) > 0
        # A model that accepts nothing in a picture leaves it unknown; a known one without boxes was
        # looked at by a person.
        self.labelled = of_person | (labels.known & (labels.counts == 0))

    def values(self, rows: Tensor, looks: Looks | None, target: float) -> dict[str, Tensor]:
        some = self._labels.select(rows)
        found = {
            name: per_picture(box_uncertainty(some.confidence, name), some) for name in UNCERTAINTY
        }
        gain = Acceptance.of(some.confidence, target).gain_of_check(some.confidence)
        return {**found, "promise": per_picture(gain, some)}

    def against(self, other: Beliefs, rows: Tensor, theirs: Tensor) -> Tensor:
        assert isinstance(other, BoxBeliefs)
        _same_classes(self, other)
        known = theirs >= 0
        ours, others = self._labels.select(rows), other._labels.select(theirs.clamp_min(0))
        ours, others = ours.keep(ours.confidence >= 0.5), others.keep(others.confidence >= 0.5)
        return torch.where(known, box_disagreement(ours, others, len(self.classes)), 0.0)

    def _one(self, row: int) -> BoxLabels:
        return self._labels.select(torch.tensor([row]))

    def believed(self, row: int, at: int, looks: Looks | None) -> str:
        one = self._one(row)
        sure = one.classes[one.confidence >= 0.5]
        count = torch.bincount(sure, minlength=len(self.classes))
        value, place = count.sort(descending=True, stable=True)
        named = [f"{n} {self.classes[k]}" for n, k in zip(value.tolist(), place.tolist()) if n > 0]
        return _some(named) or "nothing"

    def confidence(self, row: int) -> float | None:
        sure = self._one(row).confidence
        return float(sure.mean()) if len(sure) else None

    def doubt(self, row: int, at: int, looks: Looks | None) -> str:
        sure = self._one(row).confidence
        unsure = int(((sure > UNSURE[0]) & (sure < UNSURE[1])).sum())
        return f"{unsure} of {len(sure)} boxes are unsure" if len(sure) else "no box at all"


class PixelBeliefs(Beliefs):
    """Of a run on classes of pixels; how unsure it is of them is asked of the model, as the stored
    maps hold a mean for each class of a picture."""

    needs_looks = True

    def __init__(self, stored: PixelRound) -> None:
        self.names, self.classes, self._stored = stored.names, stored.classes, stored
        said = stored.table["source"].to_pylist()
        self.labelled = torch.tensor([one == Source.PERSON.name.lower() for one in said]).bool()

    def values(self, rows: Tensor, looks: Looks | None, target: float) -> dict[str, Tensor]:
        assert looks is not None and looks.unsure is not None and looks.confidence is not None
        found = dict(zip(UNCERTAINTY, looks.unsure.unbind(1), strict=True))
        acceptance = Acceptance.of(looks.centres, target, looks.confidence.double().sum(0))
        gain = looks.confidence @ acceptance.gain(looks.centres)
        return {**found, "promise": gain}

    def against(self, other: Beliefs, rows: Tensor, theirs: Tensor) -> Tensor:
        assert isinstance(other, PixelBeliefs)
        _same_classes(self, other)
        found = []
        for row, place in zip(rows.tolist(), theirs.tolist(), strict=True):
            mine = self._stored.picture(row).classes
            if place < 0 or (other_map := other._stored.picture(place).classes).shape != mine.shape:
                found.append(0.0)
                continue
            found.append(pixel_disagreement(mine, other_map))
        return torch.tensor(found)

    def believed(self, row: int, at: int, looks: Looks | None) -> str:
        if looks is None or looks.probs is None:
            segments = self._stored.table["segments"][row].as_py()
            return _some([str(segment["class"]) for segment in segments]) or "nothing"
        share, place = looks.probs[at].sort(descending=True, stable=True)
        pairs = zip(place.tolist(), share.tolist())
        return _some([f"{self.classes[k]} {_percent(part)}" for k, part in pairs if part >= 0.005])

    def confidence(self, row: int) -> float | None:
        value = self._stored.table["confidence"][row].as_py()
        return None if value is None else float(value)

    def doubt(self, row: int, at: int, looks: Looks | None) -> str:
        if looks is None or looks.confidence is None:
            return f"mean confidence {_percent(self.confidence(row) or 0.0)}"
        low = float(looks.confidence[at][looks.centres < UNSURE[1]].sum())
        return f"{_percent(low)} of its pixels have a confidence below {_percent(UNSURE[1])}"


def read_beliefs(run: Path, task: str, round: int | None = None) -> Beliefs:
    """What the run believes after a round, the last one when None.

    Raises:
        RunError: there are no labels, or they are damaged.
    """
    store = LabelStore(run / "labels")
    if task == "segmentation":
        return PixelBeliefs(store.read_pixels(round))
    if task in ("detection", "instance"):
        found = store.read_boxes(round)
        return BoxBeliefs(found.names, found.labels, found.classes)
    names, labels, classes, _ = store.read(round)
    return ClassBeliefs(names, labels, classes)


def _same_classes(ours: Beliefs, others: Beliefs) -> None:
    if ours.classes != others.classes:
        raise DataError(
            f"The other labels are of {_some(others.classes)}, these of {_some(ours.classes)}.",
            "the same classes in the same order",
            "compare with a run on the same classes",
        )


def _count(labels: BoxLabels, rows: Tensor) -> Tensor:
    return torch.bincount(labels.pictures, rows.double(), minlength=len(labels))


def _some(named: list[Any]) -> str:
    more = len(named) - SHOWN
    return ", ".join(map(str, named[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
