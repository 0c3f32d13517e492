"""A promise: only as many labels are kept as hold an accuracy with a stated confidence.

Nothing is assumed of the model or of the data but this: the held-out items, whose labels were used
for nothing else, are exchangeable with the items that are to be labelled, and were treated like them
(also in training). Then, with a probability of at least ``confidence`` over which items are held
out, the share of right labels among those that are kept is at least ``target``: for a finite number
of held-out items, whatever the model. Where nothing can be shown, nothing is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from leaven.select.accepted_counts import ranks_within
from leaven.select.learn_then_test import fixed_sequences, sequence_starts, thresholds_of
from leaven.select.risk_bounds import binomial_p_value, clopper_pearson

THRESHOLDS = 1000
"""Among so many is chosen."""

LOOKS = 6
"""At so many of the thresholds it is worked out how many held-out items would do there."""

LARGEST_NEED = 10**7
"""More held-out labels than that nobody makes."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What can be promised of labels, and what it takes.

    Attributes:
        target: the accuracy that is asked for, in (0, 1).
        confidence: with which it is to hold, in (0, 1).
        threshold: labels with this score or more are kept; None where none are.
        held: whether the promise can be given for any label.
        kept: the labels that are kept.
        kept_share: of all labels, in [0, 1]; 0 of none.
        held_out: held-out items (pictures, where a picture has many labels).
        needed: with fewer held-out items nothing at all can be promised, even if no label is
            wrong; None where there is nothing to label.
        estimate: held-out items that would be about enough for some labels at the share of wrong
            ones that was seen; None where the promise is held, or where no number would do.
        bound: what is promised with the same confidence of all labels when none is left out, a
            lower bound of their accuracy; None without held-out items.
        per_class: of a promise for each class, these promises; then ``threshold`` is None.
        most_per_picture: only so many labels of a picture are kept, its best (of the class, in a
            promise by class); None where a picture has one, or where all that reach the threshold
            are.
    """

    target: float
    confidence: float
    threshold: float | None
    held: bool
    kept: int
    kept_share: float
    held_out: int
    needed: int | None
    estimate: int | None
    bound: float | None
    per_class: tuple[Promise, ...] = ()
    most_per_picture: int | None = None

    def keeps(
        self, scores: Tensor, classes: Tensor | None = None, pictures: Tensor | None = None
    ) -> Tensor:
        """(...) bool: which labels are kept.

        Args:
            scores: (...) of the labels.
            classes: (...) of them, for a promise by class; -1 is never kept.
            pictures: (...) whose labels they are, for one that keeps the best of each picture; all
                labels of a picture have to be there.
        """
        if not self.per_class:
            kept = scores.double() >= (math.inf if self.threshold is None else self.threshold)
            if self.most_per_picture is None:
                return kept
            assert pictures is not None
            ranks = ranks_within(scores.flatten(), pictures.flatten()).view_as(scores)
            return kept & (ranks < self.most_per_picture)
        assert classes is not None
        limits = [math.inf if p.threshold is None else p.threshold for p in self.per_class]
        known = torch.tensor([*limits, math.inf], dtype=torch.float64, device=scores.device)
        kept = (scores.double() >= known[classes.long()]) & (classes >= 0)
        if all(promise.most_per_picture is None for promise in self.per_class):
            return kept
        assert pictures is not None
        count = len(self.per_class)
        most = torch.tensor(
            [*((p.most_per_picture or 0) for p in self.per_class), 0], device=scores.device
        )
        groups = pictures * (count + 1) + torch.where(classes >= 0, classes, count)
        ranks = ranks_within(scores.flatten(), groups.flatten()).view_as(scores)
        return kept & (ranks < most[classes.long()])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def needed_labels(
    target: float, confidence: float, wrong_share: float = 0.0, others: int | None = None
) -> int | None:
    """How many held-out labels it takes to promise ``target`` of labels of which so many are wrong.

    The least n with ``binomial_p_value(floor(wrong_share n), n, 1 - target, others) <= 1 -
    confidence``; without wrong labels and limits ``ceil(log(1 - confidence) / log(target))``, 149 for
    98 % at 95 %. With wrong labels it is the expected number of wrong ones that is allowed for, so
    that the promise then holds about every second time.

    Returns:
        n, or None where no number would do (``wrong_share >= 1 - target``).
    """
    check_share("target", target)
    check_share("confidence", confidence)
    if wrong_share >= 1 - target:
        return None

    def enough(count: int) -> bool:
        wrong = torch.tensor(math.floor(wrong_share * count))
        finite = None if others is None else torch.tensor(others)
        p = binomial_p_value(wrong, torch.tensor(count), 1 - target, finite)
        return float(p) <= 1 - confidence

    high = 1
    while not enough(high):
        high *= 2
        if high > LARGEST_NEED:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def family_confidence(confidence: float, count: int) -> float:
    """The confidence of each of ``count`` promises that hold together with ``confidence``
    (Bonferroni): ``1 - (1 - confidence) / count``."""
    return 1 - (1 - confidence) / max(1, count)


def promise_items(
    scores: Tensor, wrong: Tensor, others: Tensor, *, target: float, confidence: float
) -> Promise:
    """Of labels of items, one each: a threshold of their scores by fixed sequences of exact tests.

    ``binomial_p_value`` at each threshold, from the held-out items that it accepts; the choice is
    that of ``fixed_sequences``. Two things hold: the labels that are kept are right to ``target`` or
    more, and so will be those of further items of this kind that reach the threshold.

    Args:
        scores: (n,) of the held-out items; NaN is never accepted.
        wrong: (n,) bool, whether their labels are wrong.
        others: (m,) scores of the items to be labelled.
        target: share of right labels, in (0, 1).
        confidence: in (0, 1).

    Raises:
        ValueError: shares outside (0, 1), or rows that do not fit.
    """
    check_share("target", target)
    check_share("confidence", confidence)
    scores, others, wrong = scores.cpu().double(), others.cpu().double(), wrong.cpu().bool()
    if scores.shape != wrong.shape or scores.ndim != 1:
        raise ValueError(f"{tuple(scores.shape)} scores, {tuple(wrong.shape)} wrong flags")
    risk, delta, count = 1 - target, 1 - confidence, len(scores)
    thresholds = thresholds_of(others, THRESHOLDS)
    seen, errors = _reached(scores, thresholds), _reached(scores[wrong], thresholds)
    labelled = _reached(others, thresholds)
    p_values = binomial_p_value(errors, seen, risk, labelled)
    potential = -math.log(target) * count * labelled / max(1, len(others))
    starts = sequence_starts(potential, delta)
    chosen = fixed_sequences(p_values, starts, delta)
    bound = None
    if count:
        bound = 1 - float(clopper_pearson(wrong.sum(), torch.tensor(count), delta))
    promise = promise_at(
        thresholds, labelled, len(others), chosen, count, target, confidence, bound
    )
    needed = needed_labels(target, confidence) if len(thresholds) else None
    estimate = None
    if not promise.held:
        estimate = _items_needed(errors, seen, labelled, count, target, confidence)
    return replace(promise, needed=needed, estimate=estimate)


def promise_each_class(
    scores: Tensor,
    classes: Tensor,
    wrong: Tensor,
    others: Tensor,
    other_classes: Tensor,
    count: int,
    *,
    target: float,
    confidence: float,
) -> Promise:
    """``promise_items`` for the labels of each class, with a threshold of its own.

    Each holds with ``family_confidence``, so that with ``confidence`` all of them hold together, and
    with them the promise over all classes.

    Args:
        scores, wrong, others: as there.
        classes, other_classes: (n,) and (m,) int64, the classes of the labels.
        count: number of classes.
        target, confidence: as there.
    """
    level = family_confidence(confidence, count)
    each = [
        promise_items(
            scores[classes == k],
            wrong[classes == k],
            others[other_classes == k],
            target=target,
            confidence=level,
        )
        for k in range(count)
    ]
    return of_classes(each, len(scores), len(others), target, confidence)


def of_classes(
    each: Sequence[Promise], held_out: int, others: int, target: float, confidence: float
) -> Promise:
    """Promises for each class as one of all."""
    kept = sum(promise.kept for promise in each)
    known = [promise.needed for promise in each if promise.needed is not None]
    return Promise(
        target=target,
        confidence=confidence,
        threshold=None,
        held=any(promise.held for promise in each),
        kept=kept,
        kept_share=kept / max(1, others),
        held_out=held_out,
        needed=max(known, default=None),
        estimate=None,
        bound=None,
        per_class=tuple(each),
    )


def promise_at(
    thresholds: Tensor,
    kept: Tensor,
    total: int,
    chosen: int,
    held_out: int,
    target: float,
    confidence: float,
    bound: float | None,
) -> Promise:
    """The promise of the threshold in the place ``chosen``, -1 for none; ``kept`` (T,) of ``total``
    labels."""
    held = chosen >= 0
    number = int(kept[chosen]) if held else 0
    return Promise(
        target=target,
        confidence=confidence,
        threshold=float(thresholds[chosen]) if held else None,
        held=held,
        kept=number,
        kept_share=number / max(1, total),
        held_out=held_out,
        needed=None,
        estimate=None,
        bound=bound,
    )


def _items_needed(
    errors: Tensor, seen: Tensor, others: Tensor, count: int, target: float, confidence: float
) -> int | None:
    """The fewest held-out items that would do at one of the thresholds, at what was seen there."""
    found: list[int] = []
    if len(seen) == 0:
        return None
    for place in [*range(0, len(seen), max(1, len(seen) // LOOKS)), len(seen) - 1]:
        if not int(seen[place]):
            continue
        share = float(errors[place] / seen[place])
        number = needed_labels(target, confidence, share, int(others[place]))
        if number is not None:
            found.append(math.ceil(number * count / int(seen[place])))
    return min(found, default=None)


def _reached(scores: Tensor, thresholds: Tensor) -> Tensor:
    """(T,) int64, how many of ``scores`` reach each threshold; NaN reaches none."""
    ranked = scores[~scores.isnan()].sort().values
    return len(ranked) - torch.searchsorted(ranked, thresholds)


def check_share(name: str, value: float) -> None:
    """Refuses what is not in (0, 1).

    Raises:
        ValueError: so it is.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}, not between 0 and 1")
