"""What items can be sorted by, worked out when it is first wanted."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco

from leaven.errors import RunError
from leaven.labels import LabelStore, Source
from leaven.labels.boxes import BoxLabels
from leaven.quality.acquisition import label_next
from leaven.review.items import Floats, Index, Integers

PICKS = 256
"""So many items are picked one by one for their gain; the others follow by doubt."""

SAME = 0.5
"""The IoU from which two boxes of a class are taken for the same thing."""


@dataclass(frozen=True)
class Sort:
    """One way to sort.

    Attributes:
        name: in requests.
        title: for people.
        missing: why it cannot be done here; empty where it can.
    """

    name: str
    title: str
    missing: str = ""


class Ranking:
    """The keys of an index: the larger comes first.

    - ``doubt``: see ``Index``.
    - ``gain``: how much a label of the item would teach. Of classes, the first are those that
      ``label_next`` picks: uncertain, typical and unlike each other. Of boxes, the number of wrong
      ones to expect, ``sum min(score, 1 - score)``; of pixels likewise, ``doubt`` times pixels.
    - ``class``: in the order of the classes, the most doubtful first.
    - ``disagreement``: of an item with a given label of another class than the believed one,
      ``1 + p_believed - p_given``; of others, the confidence where the round before believed
      another class; else 0.
    - ``change`` between the last two rounds, in [0, 1]. Classes: half the sum of what probabilities
      changed; without them, 1 where the class did. Boxes: the share of all boxes of both rounds that
      have no counterpart of their class with an IoU of 0.5. Pixels: the share that has another class.
    - ``confidence``, the lowest first, and ``name``.

    Args:
        index: of the round.
        given: (n,) int64, the class that each item came with, -1 for none.
    """

    def __init__(self, index: Index, given: Integers | None = None) -> None:
        self.index, self.given = index, given
        self._kept: dict[str, NDArray[Any]] = {}
        self._lock = threading.RLock()

    def sorts(self) -> list[Sort]:
        """All ways, the possible ones and the others."""
        alone = "" if self.index.earlier is not None else "the run has one round of labels"
        classes = self.index.task == "classification"
        doubted = self.given is not None and bool(self.differs().any())
        apart = "" if doubted or not alone else f"{alone}, and believes every given label"
        return [
            Sort("doubt", "Most doubtful first"),
            Sort("gain", "Most to learn from first"),
            Sort("confidence", "Least confident first"),
            Sort("class", "By class"),
            Sort("disagreement", "Disagreement first", apart if classes else "not for places"),
            Sort("change", "Changed since the last round", alone),
            Sort("name", "By name"),
        ]

    def order(self, name: str, reverse: bool = False) -> Integers:
        """(n,) int64, all items; of equal ones, the first in the run comes first.

        Raises:
            KeyError: there is no such way, or not here.
        """
        if name not in {sort.name for sort in self.sorts() if not sort.missing}:
            raise KeyError(name)
        key = self.key(name)
        return np.argsort(key if reverse else -key, kind="stable")

    def key(self, name: str) -> NDArray[Any]:
        """(n,) numbers, the larger the earlier."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = getattr(self, f"_{name}")()
            return self._kept[name]

    def differs(self) -> NDArray[np.bool_]:
        """(n,) bool, another class is believed than the one the item came with."""
        label = self.index.label
        if self.given is None:
            return np.zeros(len(label), dtype=bool)
        return (self.given >= 0) & (label >= 0) & (self.given != label)

    def before(self) -> Any:
        """The content of the round before, its items in the order of this one; None without."""
        with self._lock:
            if "before" not in self._kept:
                self._kept["before"] = _before(self.index)
            return self._kept["before"]

    def label_before(self, item: int) -> int | None:
        """The class of an item in the round before; None where that is not known."""
        if self.index.task != "classification" or (before := self.before()) is None:
            return None
        return int(before.classes[item])

    def _doubt(self) -> Floats:
        return self.index.doubt

    def _confidence(self) -> Floats:
        return -self.index.confidence

    def _name(self) -> Integers:
        order = np.argsort(np.array(self.index.names, dtype=object), kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return -place

    def _class(self) -> NDArray[Any]:
        last = np.where(self.index.label < 0, len(self.index.classes), self.index.label)
        return -last + self.index.doubt.astype(np.float64) * 0.999

    def _gain(self) -> NDArray[Any]:
        index, content = self.index, self.index.content
        if index.task == "segmentation":
            pixels = content.table["height"].to_numpy() * content.table["width"].to_numpy()
            return index.doubt.astype(np.float64) * pixels
        if index.task != "classification":
            score = content.labels.confidence.numpy()
            score = np.where(content.labels.source.numpy() == int(Source.PERSON), 1.0, score)
            wrong = np.minimum(score, 1 - score)
            return np.bincount(content.labels.pictures.numpy(), wrong, len(index))
        gain = index.doubt.astype(np.float64)
        if content.probs is None:
            return gain
        unsaid = (content.source != int(Source.PERSON)).nonzero().squeeze(1)
        picked, _ = label_next(content.probs[unsaid], None, PICKS)
        gain[unsaid[picked].numpy()] = 2 + np.arange(len(picked), 0, -1)
        return gain

    def _disagreement(self) -> NDArray[np.float64]:
        index, content = self.index, self.index.content
        found = np.zeros(len(index))
        if (before := self.before()) is not None:
            found = np.where(before.classes.numpy() != index.label, index.confidence, 0.0)
        if self.given is None:
            return found
        rows = np.flatnonzero(self.differs())
        sure = index.confidence[rows].astype(np.float64)
        if content.probs is not None:
            sure = sure - content.probs.numpy()[rows, self.given[rows]]
        found[rows] = 1 + sure
        return found

    def _change(self) -> NDArray[np.float64]:
        index, now, before = self.index, self.index.content, self.before()
        if before is None:
            return np.zeros(len(index))
        if index.task == "classification":
            if now.probs is not None and before.probs is not None:
                return ((now.probs - before.probs).abs().sum(1) / 2).double().numpy()
            return (now.classes != before.classes).double().numpy()
        if index.task == "segmentation":
            return np.array([_moved(now, item, *before[item]) for item in range(len(index))])
        return unmatched(now.labels, before)


def unmatched(one: BoxLabels, other: BoxLabels) -> NDArray[np.float64]:
    """(n,) in [0, 1], the share of the boxes of two rounds of n pictures without a counterpart."""
    firsts, seconds = one.counts.numpy(), other.counts.numpy()
    # All pairs within a picture: for each row of the one, all rows of the other.
    picture = one.pictures.numpy()
    many = seconds[picture]
    left = np.repeat(np.arange(len(picture)), many)
    starts = np.cumsum(seconds) - seconds
    step = np.arange(len(left)) - np.repeat(np.cumsum(many) - many, many)
    right = np.repeat(starts[picture], many) + step
    a, b = one.boxes.numpy()[left], other.boxes.numpy()[right]
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = sides.clip(0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    same = one.classes.numpy()[left] == other.classes.numpy()[right]
    met = same & (shared >= SAME * np.maximum(union, 1e-9))
    found = np.zeros(len(firsts))
    for rows, pictures, total in (
        (left[met], picture, len(picture)),
        (right[met], other.pictures.numpy(), len(other.boxes)),
    ):
        paired = np.zeros(total, dtype=bool)
        paired[rows] = True
        found += np.bincount(pictures[paired], minlength=len(firsts))
    return 1 - np.where(firsts + seconds > 0, found / np.maximum(1, firsts + seconds), 1.0)


def _moved(now: Any, item: int, before: Any, row: int) -> float:
    """The share of the pixels of a picture that had another class in the round before."""
    new, old = now.table.slice(item, 1).to_pylist()[0], before.table.slice(row, 1).to_pylist()[0]
    size = new["height"] * new["width"]
    if (new["height"], new["width"]) != (old["height"], old["width"]) or size == 0:
        return 1.0
    earlier = {segment["label"]: segment["mask"] for segment in old["segments"]}
    pairs = [(segment["mask"], earlier.get(segment["label"])) for segment in new["segments"]]
    both = [coco.merge([mask, other], intersect=True) for mask, other in pairs if other is not None]
    kept = sum(int(coco.area(run)) for run in both)
    # Nothing is said of the others, which is the same where nothing was said before.
    said = [segment["mask"] for segment in (*new["segments"], *old["segments"])]
    unsaid = size - int(coco.area(coco.merge(said))) if said else size
    return 1 - (kept + unsaid) / size


def _before(index: Index) -> Any:
    if index.earlier is None:
        return None
    store = LabelStore(index.run / "labels")
    try:
        if index.task == "classification":
            names, labels, classes, _ = store.read(index.earlier)
        elif index.task == "segmentation":
            maps = store.read_pixels(index.earlier)
            names, classes = maps.names, maps.classes
        else:
            boxes = store.read_boxes(index.earlier)
            names, classes = boxes.names, boxes.classes
    except RunError:
        return None
    place = {name: row for row, name in enumerate(names)}
    if classes != index.classes or any(name not in place for name in index.names):
        return None
    rows = [place[name] for name in index.names]
    if index.task == "segmentation":
        return [(maps, row) for row in rows]
    order = torch.tensor(rows, dtype=torch.int64)
    return labels.select(order) if index.task == "classification" else boxes.labels.select(order)
