"""What is shown of each picture in a labelling tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from leaven.data.annotated_listing import AnnotatedListing, BelievedMaps
from leaven.data.formats.folder import per_picture
from leaven.data.label_maps import BACKGROUND, VOID_NAME
from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import ClassLabels, Source
from leaven.labels.pixels import VOID

State = Literal["person", "accepted", "doubtful"]
"""Who answers for a label: a person, or the promise of the run; or it needs a person."""

STATES: tuple[State, ...] = ("person", "accepted", "doubtful")


@dataclass(frozen=True)
class Thing:
    """A box, a mask, or a class of the whole picture.

    Attributes:
        key: its number in the picture, stable for one round of labels.
        name: its class.
        confidence, weight: in [0, 1].
        source: who said it.
        box: x1, y1, x2, y2 in pixels, where it is a box.
        mask: (H, W), where it is one.
        crowd: a group, or unclear.
    """

    key: int
    name: str
    confidence: float
    weight: float
    source: Source
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = None
    crowd: bool = False

    @property
    def state(self) -> State:
        """Who answers for it."""
        if self.weight == 0:
            return "doubtful"
        return "person" if self.source == Source.PERSON else "accepted"


def state_of(things: Sequence[Thing], known: bool) -> State:
    """Who answers for a whole picture: it is as doubtful as the most doubtful thing in it."""
    states = {thing.state for thing in things}
    if not known or "doubtful" in states:
        return "doubtful"
    return "person" if states == {"person"} else "accepted"


class Shown:
    """The things of every picture of a listing.

    Masks without a pixel are left out. Nothing is known of a picture whose things all are.

    Args:
        listing: the pictures.
        every: show rows that are not accepted, of weight 0, as well.
        score: do not show rows that are not accepted and have a lower confidence.
        void: show the void pixels of label maps as a thing ``VOID_NAME``.
    """

    def __init__(
        self, listing: AnnotatedListing, *, every: bool, score: float = 0.0, void: bool = False
    ) -> None:
        self._listing, self._labels = listing, None
        self._void = void
        self.known: list[bool] = listing.known.tolist()
        if listing.boxes is not None:
            boxes = listing.boxes.cpu()
            shown = boxes.accepted | ((boxes.confidence >= score) & every)
            if boxes.masks is not None:
                shown &= boxes.masks.area() > 0
            self._labels = boxes.keep(shown)
            left_out = (boxes.counts > 0) & (self._labels.counts == 0)
            self.known = (boxes.known & ~left_out).tolist()
            self._rows = per_picture(self._labels)

    @property
    def masks(self) -> bool:
        """Whether things have masks."""
        return self._labels is None or self._labels.masks is not None

    def of(self, item: int) -> list[Thing]:
        """The things of a picture, none where nothing is known of it."""
        if not self.known[item]:
            return []
        if self._labels is None:
            return _of_map(self._listing, item, void=self._void)
        rows = self._rows[item]
        return [
            _of_row(self._listing.classes, self._labels, row, key) for key, row in enumerate(rows)
        ]

    def doubtful(self) -> list[int]:
        """The pictures that need a person."""
        known = self.known
        if self._labels is None:
            return [i for i in range(len(known)) if state_of(self.of(i), known[i]) == "doubtful"]
        doubted = self._labels.pictures[~self._labels.accepted]
        needs = torch.bincount(doubted, minlength=len(known)) > 0
        found: list[int] = (needs | ~torch.tensor(known)).nonzero().squeeze(1).tolist()
        return found


def of_class(labels: ClassLabels, classes: Sequence[str], item: int) -> list[Thing]:
    """The class of a picture, as a thing; none where nothing is believed."""
    label = int(labels.classes[item])
    if label < 0:
        return []
    source = Source(int(labels.source[item]))
    return [
        Thing(0, classes[label], float(labels.confidence[item]), float(labels.weight[item]), source)
    ]


def _of_row(classes: Sequence[str], labels: BoxLabels, row: int, key: int) -> Thing:
    x1, y1, x2, y2 = labels.boxes[row].tolist()
    return Thing(
        key,
        classes[int(labels.classes[row])],
        float(labels.confidence[row]),
        float(labels.weight[row]),
        Source(int(labels.source[row])),
        (x1, y1, x2, y2),
        None if labels.masks is None else labels.masks.one(row).numpy(),
        bool(labels.crowd[row]),
    )


def _of_map(listing: AnnotatedListing, item: int, *, void: bool) -> list[Thing]:
    """Each class of a label map but the background, and with ``void`` its void pixels, first."""
    assert listing.maps is not None
    found = listing.maps[item]
    if found is None:
        return []
    beliefs = listing.maps.believed(item) if isinstance(listing.maps, BelievedMaps) else None
    things = []
    if void and (unsaid := found == VOID).any():
        things.append(Thing(VOID, VOID_NAME, 1.0, 1.0, Source.PERSON, mask=unsaid))
    for value in np.unique(found).tolist():
        if value == VOID or listing.classes[value] == BACKGROUND:
            continue
        mask, sure, weight, source = found == value, 1.0, 1.0, Source.PERSON
        if beliefs is not None:
            there = torch.from_numpy(mask)
            sure = float(beliefs.confidence[there].mean())
            weight = float(beliefs.weight[there].min())
            source = beliefs.source
        things.append(Thing(value, listing.classes[value], sure, weight, source, mask=mask))
    return things
