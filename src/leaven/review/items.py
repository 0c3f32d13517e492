"""The index over the labels of a round: for each item what it is sorted and chosen by."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from leaven.errors import RunError
from leaven.job.config import RunConfig
from leaven.job.labelling import check_labels_pictures
from leaven.labels import ClassLabels, LabelStore, Masks, Source
from leaven.labels.box_table import BoxRound
from leaven.labels.pixel_table import PixelRound

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Status(IntEnum):
    """How a label stands; the last two are said by the corrections, not by the round."""

    GIVEN = 0
    ACCEPTED = 1
    NEEDS = 2
    CORRECTED = 3
    SKIPPED = 4


@dataclass(frozen=True)
class Members:
    """Which classes occur in each of ``n`` pictures: ``classes[starts[i] : starts[i + 1]]``."""

    starts: Integers
    classes: Integers

    def of(self, item: int) -> list[int]:
        """The classes of a picture, in the order of the round."""
        return [int(k) for k in self.classes[self.starts[item] : self.starts[item + 1]]]

    def having(self, label: int) -> NDArray[np.bool_]:
        """(n,) bool, the pictures in which the class occurs; of -1, those in which none does."""
        if label < 0:
            return self.starts[1:] == self.starts[:-1]
        before = np.r_[0, np.cumsum(self.classes == label)]
        return before[self.starts[1:]] > before[self.starts[:-1]]


@dataclass(frozen=True)
class Index:
    """The labels of one round of a run.

    Attributes:
        run: its folder.
        task: of the run.
        number: of the round.
        earlier: the number of the round before, or None.
        classes: K class names.
        names: n stable names of the items.
        label: (n,) int64, the believed class, -1 for none; of a picture with several, the one with
            most boxes or pixels.
        confidence: (n,) float32 in [0, 1]; of boxes and pixels, their mean.
        doubt: (n,) float32 in [0, 1]. Classes: ``1 - (p_first - p_second)``, and without
            probabilities ``1 - confidence``. Boxes: the mean of ``1 - |2 score - 1|``. Pixels:
            ``1 - mean confidence``. 0 where a person said it, 1 where nothing is believed.
        status: (n,) int64, ``GIVEN``, ``ACCEPTED`` or ``NEEDS``.
        members: the classes of each picture, where it can have several.
        content: the round itself: ``ClassLabels``, a ``PixelRound`` or a ``BoxRound``.
    """

    run: Path
    task: str
    number: int
    earlier: int | None
    classes: list[str]
    names: list[str]
    label: Integers
    confidence: Floats
    doubt: Floats
    status: Integers
    members: Members | None
    content: Any
    text: pa.Array = field(init=False)
    """The names for searching."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", pa.array(self.names, pa.string()))

    def __len__(self) -> int:
        return len(self.names)

    def having(self, label: int) -> NDArray[np.bool_]:
        """(n,) bool, the items of a class, or with it in them; -1 for no class."""
        return self.label == label if self.members is None else self.members.having(label)


def open_index(run: Path) -> Index:
    """The index over the last whole round of a run, finished or not.

    Raises:
        RunError: there is no run, it labels nothing, has no round of labels yet, or only damaged ones.
    """
    if not (run / "config.yaml").is_file():
        raise RunError(
            f"There is no run in {run}.",
            "the folder of a run, with config.yaml",
            "check the path; `leaven run --out FOLDER` makes one",
        )
    task = RunConfig.read(run / "config.yaml").task
    check_labels_pictures(run, task)
    store = LabelStore(run / "labels")
    rounds = store.rounds()
    for number in reversed(rounds[1:]):
        try:
            return _of_round(run, task, store, number, rounds)
        except RunError:
            continue  # A damaged one is passed over, as everywhere; the page says the round.
    if not rounds:
        raise RunError(
            f"The run {run} has no labels yet.",
            "a run that has written its first round of labels",
            "wait until it has, or go on with it: `leaven run --resume --out FOLDER`",
        )
    return _of_round(run, task, store, rounds[0], rounds)


def last_round(run: Path) -> int | None:
    """The number of the newest round of labels, None where there is none."""
    rounds = LabelStore(run / "labels").rounds()
    return rounds[-1] if rounds else None


def _of_round(run: Path, task: str, store: LabelStore, number: int, rounds: list[int]) -> Index:
    before = [other for other in rounds if other < number]
    common: dict[str, Any] = {
        "run": run,
        "task": task,
        "number": number,
        "earlier": before[-1] if before else None,
    }
    if task == "classification":
        names, labels, classes, _ = store.read(number)
        return Index(
            **common,
            classes=classes,
            names=names,
            label=labels.classes.numpy(),
            confidence=_finite(labels.confidence.numpy()),
            doubt=class_doubt(labels),
            status=_status(labels.source.numpy() == int(Source.PERSON), labels.accepted.numpy()),
            members=None,
            content=labels,
        )
    if task == "segmentation":
        return Index(**common, **_of_maps(store.read_pixels(number)))
    return Index(**common, **_of_boxes(store.read_boxes(number)))


def class_doubt(labels: ClassLabels) -> Floats:
    """(n,) float32; see ``Index``."""
    doubt = 1 - labels.confidence
    if labels.probs is not None and labels.probs.shape[1] > 1:
        first, second = labels.probs.topk(2, dim=1).values.unbind(1)
        doubt = 1 - (first - second)
    doubt = torch.where(labels.classes >= 0, doubt, 1.0)
    return _finite(doubt.numpy(), 1.0)


def _of_maps(found: PixelRound) -> dict[str, Any]:
    table = found.table
    segments = table["segments"].combine_chunks()
    values = segments.flatten()
    counts = np.diff(segments.offsets.to_numpy()).astype(np.int64)
    classes = values.field("label").to_numpy(zero_copy_only=False).astype(np.int64)
    picture = np.repeat(np.arange(len(found)), counts)
    person = np.array(table["source"].to_numpy(zero_copy_only=False) == "person", dtype=bool)
    accepted = table["accepted_share"].to_numpy(zero_copy_only=False) > 0
    confidence = _finite(table["confidence"].to_numpy(zero_copy_only=False))
    return {
        "classes": found.classes,
        "names": found.names,
        "label": _largest(picture, classes, _areas(values), len(found), len(found.classes)),
        "confidence": confidence,
        "doubt": np.where(person, 0, 1 - confidence).astype(np.float32),
        "status": _status(person, accepted),
        "members": Members(np.r_[0, np.cumsum(counts)], classes),
        "content": found,
    }


def _of_boxes(found: BoxRound) -> dict[str, Any]:
    labels, count = found.labels, len(found.names)
    picture, counts = labels.pictures.numpy(), labels.counts.numpy()
    classes, known = labels.classes.numpy(), labels.known.numpy()
    score = _finite(labels.confidence.numpy())

    def mean(values: Floats) -> Floats:
        return (np.bincount(picture, values, count) / np.maximum(1, counts)).astype(np.float32)

    def some(rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.bincount(picture[rows], minlength=count) > 0

    # A picture that is known and has no box was looked at by a person: see ``train.found``.
    person = some(labels.source.numpy() == int(Source.PERSON)) | (known & (counts == 0))
    doubt = np.where(counts > 0, mean(1 - np.abs(2 * score - 1)), 1)
    return {
        "classes": found.classes,
        "names": found.names,
        "label": _largest(picture, classes, np.ones(len(classes)), count, len(found.classes)),
        "confidence": np.where(counts > 0, mean(score), known).astype(np.float32),
        "doubt": np.where(person, 0, doubt).astype(np.float32),
        "status": _status(person, some(labels.accepted.numpy())),
        "members": Members(np.r_[0, np.cumsum(counts)], classes),
        "content": found,
    }


def _areas(segments: pa.StructArray) -> Floats:
    """Pixels of each segment of label maps."""
    masks = segments.field("mask")
    runs = [str(text).encode("ascii", "replace") for text in masks.field("counts").to_pylist()]
    sizes = masks.field("size").flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return Masks(runs, torch.from_numpy(sizes.reshape(-1, 2).copy())).area().numpy()


def _largest(
    picture: Integers, classes: Integers, size: NDArray, count: int, num_classes: int
) -> Integers:
    """(n,) int64, the class of each picture with the largest sum of ``size``, -1 without any."""
    key, place = np.unique(picture * max(1, num_classes) + classes, return_inverse=True)
    total = np.bincount(place, size, len(key))
    order = np.lexsort((-key, total))
    label = np.full(count, -1)
    # Of equal pictures the last assignment stays: the largest, and of equal ones the first class.
    label[key[order] // max(1, num_classes)] = key[order] % max(1, num_classes)
    return label


def _status(person: NDArray[np.bool_], accepted: NDArray[np.bool_]) -> Integers:
    model = np.where(accepted, int(Status.ACCEPTED), int(Status.NEEDS))
    return np.where(person, int(Status.GIVEN), model).astype(np.int64)


def _finite(values: NDArray, instead: float = 0.0) -> Floats:
    """In [0, 1]; what is no number counts as ``instead``."""
    return np.nan_to_num(values.astype(np.float32), nan=instead).clip(0, 1)
