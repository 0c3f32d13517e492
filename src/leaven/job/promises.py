"""What a run promises of its labels: which are kept, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from leaven.data import Data, ImageSet
from leaven.data.calibration import LARGEST_SHARE, Calibration
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import ConfigError, DataError
from leaven.job.config import RunConfig
from leaven.job.promise_summary import Asked, in_percent, summary_of
from leaven.labels import BoxLabels, ClassLabels, PixelLabels
from leaven.labels.pixels import VOID
from leaven.quality.accuracy import Shift, shift_between, shift_of
from leaven.quality.detection import match_boxes
from leaven.select.accepted_counts import Counts, Rows, count_pixels
from leaven.select.guarantee import (
    Promise,
    family_confidence,
    needed_labels,
    of_classes,
    promise_each_class,
    promise_items,
)
from leaven.select.guarantee_pictures import (
    THRESHOLDS,
    expected_threshold,
    promise_pixels,
    promise_rows,
)

LEAST_ACCEPTED = 0.1
"""Share of the pixels that a threshold has to accept to be considered for an expectation."""


@dataclass(frozen=True)
class Promised:
    """A promise with what people should know of it.

    Attributes:
        promise: what holds.
        summary: for ``summary.json``.
    """

    promise: Promise
    summary: dict[str, Any]

    def after_corrections(self) -> Promised:
        """The same in a round after corrections."""
        text = (
            f"{self.summary['text']} People have corrected labels since the items were held out, and "
            "did not choose them at random: the promise is proven for what they chose without looking "
            "at labels, and else only as far as the rest is like the held-out items."
        )
        return replace(self, summary={**self.summary, "text": text, "warning": ""})

    @property
    def finding(self) -> dict[str, str]:
        """For the health of the run."""
        held, doubt = self.promise.held, str(self.summary["warning"])
        code = "promise-held" if held else "promise-not-held"
        level = "info" if held and not doubt else "warning"
        return {"level": level, "code": code, "text": f"{self.summary['text']} {doubt}".strip()}


def check_promise(config: RunConfig) -> None:
    """Refuses options of a promise without a promise.

    Raises:
        ConfigError: so it is.
    """
    given = config.calibration is not None or config.promise_per_class
    if config.promise is None and given:
        option = "--promise-per-class" if config.calibration is None else "--calibration"
        raise ConfigError(
            f"{option} is given without a promise.",
            "the share of labels that are to be right",
            "add for example --promise 0.98, or leave it out",
        )


def calibration_of(config: RunConfig) -> Calibration | None:
    """How many labels are held out: what is asked for, or what a promise takes where half as many
    labels are wrong as may be, and then at most a third of all labels."""
    if config.promise is None:
        return None
    if config.calibration is not None:
        return Calibration(config.calibration)
    usual = needed_labels(config.promise, config.confidence, (1 - config.promise) / 2)
    assert usual is not None
    return Calibration(usual, LARGEST_SHARE)


def check_enough(config: RunConfig, data: Data[Any]) -> None:
    """Refuses a promise of classes that no model could keep: too few labels are held out.

    Raises:
        DataError: so it is.
    """
    held = data.calibration
    if held is None or config.promise is None or config.task != "classification":
        return
    if len(data.unlabelled) == 0:
        return
    needed = needed_labels(config.promise, config.confidence)
    if needed is None or len(held) >= needed:
        return
    how = "" if config.calibration is not None else ", at most a third of all labels,"
    raise DataError(
        f"{len(held)} labels{how} are held out for the promise of {in_percent(config.promise)} at "
        f"{in_percent(config.confidence)} confidence.",
        f"{needed} or more, for even without one wrong label fewer do not show it",
        "label more, hold out more (--calibration), or ask for less",
    )


def promised_classes(
    labels: ClassLabels,
    held: ClassLabels,
    items: ImageSet[Tensor],
    truth: Tensor,
    classes: Sequence[str],
    asked: Asked,
) -> tuple[ClassLabels, Promised]:
    """The labels that are kept, with weight 1, all others with 0, and what is promised of them.

    Args:
        labels: of the unlabelled items.
        held: what was believed in the same way about the held-out ``items``.
        items: with their labels.
        truth: (n,) of the unlabelled items, -1 where unknown; to measure alone.
        classes: the class names.
        asked: what for.
    """
    wrong = held.classes != items.labels.cpu()
    scores = torch.where(held.classes >= 0, held.confidence, torch.nan)
    others = torch.where(labels.classes >= 0, labels.confidence, torch.nan)

    def overall(target: float) -> Promise:
        return promise_items(scores, wrong, others, target=target, confidence=asked.confidence)

    each = promise_each_class(
        scores,
        held.classes,
        wrong,
        others,
        labels.classes,
        len(classes),
        target=asked.target,
        confidence=asked.confidence,
    )

    def measured(promise: Promise) -> float | None:
        return labels.with_weight(promise.keeps(others, labels.classes).float()).accuracy(truth)

    promise = each if asked.by_class else overall(asked.target)
    shift = None
    if held.probs is not None and labels.probs is not None and len(held) and len(labels):
        shift = shift_between(held.probs, labels.probs)
    summary = summary_of(
        promise, each, asked, classes, len(labels), "labels", overall, measured, shift
    )
    kept = labels.with_weight(promise.keeps(others, labels.classes).float())
    return kept, Promised(promise, summary)


def promised_boxes(
    labels: BoxLabels,
    held: BoxLabels,
    items: ImageSet[BoxLabels],
    truth: BoxLabels,
    classes: Sequence[str],
    asked: Asked,
    masks: bool,
) -> tuple[BoxLabels, Promised]:
    """As ``promised_classes``; a box (or mask) is right when it has the class of a thing with an IoU
    of 0.5 or more, and that thing is not another one's."""
    count = len(classes)
    matches = match_boxes(held, items.labels.cpu(), count, masks=masks)

    def of_rows(mine: Tensor, theirs: Tensor, target: float, confidence: float) -> Promise:
        return promise_rows(
            Rows(
                held.confidence[mine],
                held.pictures[mine],
                len(held),
                ~matches.right[mine],
                matches.judged[mine],
            ),
            Rows(labels.confidence[theirs], labels.pictures[theirs], len(labels)),
            target=target,
            confidence=confidence,
        )

    def overall(target: float) -> Promise:
        mine, theirs = (torch.ones(len(some.boxes)).bool() for some in (held, labels))
        return of_rows(mine, theirs, target, asked.confidence)

    def keeps(promise: Promise) -> Tensor:
        return promise.keeps(labels.confidence, labels.classes, labels.pictures)

    level = family_confidence(asked.confidence, count)
    found = [
        of_rows(held.classes == k, labels.classes == k, asked.target, level) for k in range(count)
    ]
    each = of_classes(found, len(held), len(labels.boxes), asked.target, asked.confidence)

    def measured(promise: Promise) -> float | None:
        chosen = labels.keep(keeps(promise))
        right = match_boxes(chosen, truth, count, masks=masks).metrics()["precision"]
        return None if right != right else right

    promise = each if asked.by_class else overall(asked.target)
    shift = _shift_of_pictures(_of_boxes(held), _of_boxes(labels))
    summary = summary_of(
        promise, each, asked, classes, len(labels.boxes), "boxes", overall, measured, shift
    )
    return labels.with_weight(keeps(promise).float()), Promised(promise, summary)


def promised_pixels(
    labels: PixelLabels,
    held: PixelLabels,
    items: ImageSet[PixelMaps],
    truth: PixelMaps,
    classes: Sequence[str],
    asked: Asked,
) -> tuple[PixelLabels, Promised]:
    """As ``promised_classes``, for pixels. Promises of each class are made only where they are asked
    for: they take a pass over all pixels each."""
    actual = items.labels.stored(torch.arange(len(items))).cpu()
    wrong, judged = held.classes != actual, actual != VOID
    # What lies beside a picture is neither kept nor left to a person.
    own = labels.confidence
    own = own if labels.extents is None else torch.where(labels.shown, own, -1.0)
    total = int(labels.areas.sum())

    def of_pixels(mine: Tensor, theirs: Tensor, target: float, confidence: float) -> Promise:
        return promise_pixels(mine, wrong, judged, theirs, target=target, confidence=confidence)

    def overall(target: float) -> Promise:
        return of_pixels(held.confidence, own, target, asked.confidence)

    each = None
    if asked.by_class:
        level = family_confidence(asked.confidence, len(classes))
        found = [
            of_pixels(
                torch.where(held.classes == k, held.confidence, -1.0),
                torch.where(labels.classes == k, own, -1.0),
                asked.target,
                level,
            )
            for k in range(len(classes))
        ]
        each = of_classes(found, len(held), total, asked.target, asked.confidence)
    known = truth.stored(torch.arange(len(truth))).cpu()

    def measured(promise: Promise) -> float | None:
        return labels.with_weight(promise.keeps(own, labels.classes)).accuracy(known)

    promise = overall(asked.target) if each is None else each
    shift = _shift_of_pictures(_of_maps(held), _of_maps(labels))
    summary = summary_of(promise, each, asked, classes, total, "pixels", overall, measured, shift)
    summary["in_expectation"] = _expected(held, wrong, judged, own, total, asked.target)
    return labels.with_weight(promise.keeps(own, labels.classes)), Promised(promise, summary)


def _of_boxes(labels: BoxLabels) -> Tensor:
    """(n, 2) how many boxes the pictures have, and their mean confidence."""
    count = torch.bincount(labels.pictures, minlength=len(labels)).double()
    total = torch.bincount(labels.pictures, labels.confidence.double(), minlength=len(labels))
    return torch.stack([count, total / count.clamp_min(1)], 1)


def _of_maps(labels: PixelLabels) -> Tensor:
    """(n, 1) the mean confidence of the pixels that show each picture."""
    shown = labels.confidence
    shown = shown if labels.extents is None else torch.where(labels.shown, shown, 0)
    return (shown.sum((1, 2), dtype=torch.float32) / labels.areas)[:, None]


def _shift_of_pictures(held: Tensor, others: Tensor) -> Shift | None:
    return shift_of(held, others) if len(held) and len(others) else None


def _expected(
    held: PixelLabels, wrong: Tensor, judged: Tensor, others: Tensor, total: int, target: float
) -> dict[str, float | None]:
    """What conformal risk control would keep of ``total`` pixels with the confidences ``others``
    (m, H, W), negative beside pictures: see ``expected_threshold``. Thresholds that accept hardly a
    pixel are left out: there a picture is all wrong or all right."""
    thresholds, counts, there = count_pixels(held.confidence, wrong, judged, others, THRESHOLDS)
    enough = there.accepted.sum(0) >= LEAST_ACCEPTED * total
    chosen = Counts(counts.accepted[:, enough], counts.wrong[:, enough])
    found = expected_threshold(chosen, thresholds[enough], target)
    share = 0.0
    if found is not None:
        share = int((others >= found).sum()) / max(1, total)
    return {"threshold": found, "kept_share": share}
