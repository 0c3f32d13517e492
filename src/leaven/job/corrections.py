"""From what people said of the labels of a run to the evidence of its next round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from leaven.data import Data
from leaven.data.dataset import T
from leaven.errors import RunError
from leaven.job.corrected_places import corrected_boxes, corrected_maps, useless
from leaven.labels import BoxLabels, ClassLabels, Correction, LabelStore, PixelLabels
from leaven.methods import Fitted
from leaven.refine import only_allowed

L = TypeVar("L", ClassLabels, PixelLabels)


@dataclass(frozen=True)
class Said:
    """What stands of what was said of one item.

    Attributes:
        last: the latest accept, relabel or reject.
        rejects: the rejects since the last accept or relabel, in order.
    """

    last: Correction
    rejects: tuple[Correction, ...] = ()


def gathered(corrections: Iterable[Correction]) -> dict[str, Said]:
    """By item what stands: not undone, and no skip. Rejects add up, for a label that was rejected
    in one round is still wrong when another one is rejected in the next."""
    corrections = list(corrections)
    undone = {correction.undoes for correction in corrections}
    found: dict[str, Said] = {}
    for one in corrections:
        if one.action in ("skip", "undo") or one.id in undone:
            continue
        before = found[one.item].rejects if one.item in found else ()
        found[one.item] = Said(one, (*before, one) if one.action == "reject" else ())
    return found


@dataclass(frozen=True)
class Evidence(Generic[T]):
    """The data of a run with what people said of its labels.

    Attributes:
        data: with their labels.
        given: (n,) bool, the items of ``data.train`` that they labelled in the log.
        rejected: (n,) bool, the items of ``data.train`` whose labels they called wrong without
            saying what is right. These are unlabelled, and nothing is learnt from them.
        drawn: (n,) bool, the items of ``data.train`` that were labelled before. People correct what
            is doubtful, so that the frequency of the classes is told by these alone.
        ruled_out: (n, K) bool, the classes that are known to be wrong; None where labels have
            places.
        notes: what people should know.
        counts: how many items were accepted, relabelled and rejected.
    """

    data: Data[T]
    given: Tensor
    rejected: Tensor
    drawn: Tensor
    ruled_out: Tensor | None = None
    notes: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    def to_train(self, data: Data[T]) -> Data[T]:
        """``data`` (this data, or it on features) without the rejected items: so no method accepts
        for one of them what a person called wrong."""
        if not bool(self.rejected.any()):
            return data
        return data.with_train(data.train.subset(~self.rejected))

    def completed(self, fitted: Fitted[Any, Any], trainer: Any, data: Data[T]) -> Fitted[Any, Any]:
        """What was learned from ``to_train(data)``, with labels of all unlabelled items of ``data``.

        A rejected item gets what the model says of it. Of classes, those that are ruled out have
        probability 0 and the others add up to 1; it is accepted where the likeliest is then as
        probable as the least confident label that the method accepted, and has no class where all
        are ruled out. Label maps and boxes of a rejected picture are not accepted. Where a method
        doubts what people gave, what they said in the log stands.
        """
        if fitted.given is not None and bool(self.given.any()):
            fitted = replace(fitted, given=self._held(fitted.given.cpu(), data))
        if not bool(self.rejected.any()):
            return fitted
        left, labels = data.train.subset(self.rejected), fitted.labels.cpu()
        place = self.rejected[~data.train.known]
        if isinstance(labels, ClassLabels):
            probs = trainer.predict(fitted.model, left).cpu()
            made = self._without(probs, labels)
        else:
            made = trainer.label(fitted.model, left).cpu()
            made = made.with_weight(torch.zeros_like(made.weight))
        return replace(fitted, labels=_woven(labels, made, place))

    def refused(self, fitted: Fitted[Any, Any], data: Data[T]) -> Fitted[Any, Any]:
        """``completed`` labels of which a promise holds: it is not one of the rejected items, whose
        labels are not accepted."""
        place = self.rejected[~data.train.known]
        if not bool(place.any()) or not isinstance(fitted.labels, ClassLabels):
            return fitted
        labels = fitted.labels.with_weight(torch.where(place, 0.0, fitted.labels.weight))
        return replace(fitted, labels=labels)

    def _held(self, believed: ClassLabels, data: Data[Any]) -> ClassLabels:
        known = data.train.known
        rows = self.given[known]
        said = ClassLabels.from_person(data.train.labels[known][rows].cpu())
        if believed.probs is not None:
            sure = torch.nn.functional.one_hot(said.classes, believed.probs.shape[1]).float()
            said = replace(said, probs=sure)
        return believed.filled(said, rows=rows)

    def _without(self, probs: Tensor, accepted: ClassLabels) -> ClassLabels:
        """Labels of the rejected items by ``probs`` (m, K) of the classes that are left."""
        assert self.ruled_out is not None
        allowed = ~self.ruled_out[self.rejected]
        probs = only_allowed(probs.clamp_min(1e-12).log(), allowed).softmax(1)
        sure = accepted.confidence[accepted.accepted]
        least = float(sure.min()) if len(sure) else torch.inf
        left = allowed.any(1)
        labels = ClassLabels.from_probs(probs, ((probs.max(1).values >= least) & left).float())
        return replace(
            labels,
            classes=torch.where(left, labels.classes, -1),
            confidence=torch.where(left, labels.confidence, 0.0),
            source=torch.where(left, labels.source, 0),
            probs=None if accepted.probs is None else labels.probs,
        )


def taken(data: Data[Any], task: str, said: Mapping[str, Said], store: LabelStore) -> Evidence[Any]:
    """The data of a run with what was ``said`` of its labels as evidence.

    An accept or a relabel is what a person says of the item, in place of a label that was given
    before. A reject takes a given label away. Items that are held out (test, val, calibration) stay
    as they are: they are what a run is measured by.

    Args:
        data: as they were opened.
        task: of the run.
        said: by item, see ``gathered``.
        store: the rounds of labels that were looked at.

    Raises:
        RunError: an item is gone, a class is not of the run, a round that is meant is not there, or
            a correction says nothing that this task can use.
    """
    train = data.train
    place = {name: row for row, name in enumerate(train.names)}
    held = {
        name
        for part in (data.val, data.test, data.calibration)
        if part is not None
        for name in part.names
    }
    here = {item: one for item, one in said.items() if item in place}
    gone = [item for item in said if item not in place and item not in held]
    if gone:
        raise RunError(
            f"{len(gone)} of {len(said)} corrected pictures are not in {data.name}, the first is "
            f"{gone[0]!r}.",
            "the pictures that the run was made with, under the same names",
            "put them back, or undo these corrections in `leaven review`",
        )
    notes = []
    if aside := len(said) - len(here):
        what = "1 corrected picture is" if aside == 1 else f"{aside} corrected pictures are"
        notes.append(
            f"{what} held out to measure or to promise by: nothing is learnt from what was said of "
            f"{'it' if aside == 1 else 'them'}."
        )
    rows = {place[item]: one for item, one in here.items()}
    rejected = torch.zeros(len(train), dtype=torch.bool)
    given = rejected.clone()
    for row, one in rows.items():
        (rejected if one.last.action == "reject" else given)[row] = True
    labels: Any
    wrong, found = None, train.as_found
    if task == "classification":
        labels, wrong = _classes(train.labels, rows, _Rounds(store, data.classes))
    elif task == "segmentation":
        labels, found = corrected_maps(data, _last(rows), rejected, store)
    elif task in ("detection", "instance"):
        labels, found = corrected_boxes(
            data, _last(rows), rejected, store, masks=task == "instance"
        )
    else:
        raise RunError(
            f"There are corrections of a run of the task {task}.",
            "classification, segmentation, detection or instance",
            "leave --with-corrections out",
        )
    counts = dict.fromkeys(("accept", "relabel", "reject"), 0)
    for one in rows.values():
        counts[one.last.action] += 1
    confidence = train.model_confidence
    if confidence is not None:
        confidence = confidence.masked_fill(given, torch.nan)
    corrected = data.with_train(
        replace(train, labels=labels, model_confidence=confidence, as_found=found)
    )
    drawn = train.known & corrected.train.known
    return Evidence(corrected, given, rejected, drawn, wrong, tuple(notes), counts)


def _last(rows: Mapping[int, Said]) -> dict[int, Correction]:
    return {row: one.last for row, one in rows.items()}


class _Rounds:
    """The classes that rounds of labels held, each round read once."""

    def __init__(self, store: LabelStore, classes: tuple[str, ...]) -> None:
        self._store = store
        self.index = {name: number for number, name in enumerate(classes)}
        self._read: dict[int, dict[str, int]] = {}

    def class_of(self, correction: Correction) -> int:
        """The class that a correction names, or that of the round that it is about."""
        if correction.label is not None:
            if correction.label not in self.index:
                raise useless(
                    correction,
                    f"names the class {correction.label!r}",
                    f"one of the run's {len(self.index)} classes",
                )
            return self.index[correction.label]
        if correction.action == "relabel":
            raise useless(correction, "gives boxes", "a class, as the run learns classes")
        if correction.round not in self._read:
            names, labels, _, _ = self._store.read(correction.round)
            self._read[correction.round] = dict(zip(names, labels.classes.tolist(), strict=True))
        found = self._read[correction.round].get(correction.item, -1)
        if found < 0:
            raise useless(
                correction,
                f"is about the class in round {correction.round}, which has none for it",
                "a class, or a round that has one",
            )
        return found


def _classes(labels: Tensor, rows: Mapping[int, Said], rounds: _Rounds) -> tuple[Tensor, Tensor]:
    """(n,) the classes with what people said, and (n, K) bool, what they ruled out."""
    labels = labels.clone()
    wrong = torch.zeros(len(labels), len(rounds.index), dtype=torch.bool)
    for row, one in rows.items():
        rejects = one.last.action == "reject"
        labels[row] = -1 if rejects else rounds.class_of(one.last)
        for reject in one.rejects:
            wrong[row, rounds.class_of(reject)] = True
    return labels, wrong


def _woven(labels: Any, made: Any, place: Tensor) -> Any:
    """``labels`` and, at the rows ``place`` (n,) bool, what was ``made`` for these, in order."""
    order = torch.empty(len(place), dtype=torch.int64)
    order[~place] = torch.arange(len(labels))
    order[place] = len(labels) + torch.arange(len(made))
    if isinstance(labels, BoxLabels):
        return BoxLabels.joined([labels, made]).select(order)
    return _joined(labels, made).select(order)


def _joined(first: L, second: L) -> L:
    columns: dict[str, Any] = {}
    for column in fields(first):
        mine, theirs = getattr(first, column.name), getattr(second, column.name)
        columns[column.name] = None if mine is None else torch.cat([mine, theirs.to(mine)])
    return type(first)(**columns)
