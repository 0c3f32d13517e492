"""Promises of labels of which a picture has several: boxes, tags, pixels. The picture is the unit."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from leaven.select.accepted_counts import (
    Counts,
    Rows,
    count_pixels,
    most_per_picture,
    within_most,
)
from leaven.select.guarantee import (
    LARGEST_NEED,
    Promise,
    check_share,
    family_confidence,
    of_classes,
    promise_at,
    promise_items,
)
from leaven.select.learn_then_test import (
    fine_thresholds_of,
    fixed_sequences,
    sequence_starts,
    thresholds_of,
)
from leaven.select.risk_bounds import betting_p_value, conformal_risk

THRESHOLDS = 200
"""Among so many is chosen; each is a column of all held-out pictures."""

EVEN = 0.9
"""Of the rows that a threshold accepts, at least so many are left when crowded pictures keep their
best ones alone."""


def promise_rows(
    held: Rows,
    others: Rows,
    *,
    target: float,
    confidence: float,
    thresholds: Tensor | None = None,
) -> Promise:
    """Of labels of which a picture has several, such as boxes: the picture is the unit.

    Labels of one picture are not independent, so that a thousand boxes in 50 pictures are 50
    observations. At a threshold let picture i have A_i accepted labels, W_i of them wrong. At least
    ``target = 1 - alpha`` of the accepted labels are right where ``E[W - alpha A] <= 0``, which is

    ``E[L] <= alpha``  of the losses  ``L_i = alpha + (W_i - alpha A_i) / M``  in [0, 1],

    with M the most labels that are accepted of any picture. ``betting_p_value`` tests this at each
    threshold, with the other pictures as what the promise is about; the choice is that of
    ``fixed_sequences``.

    The more even the numbers of labels, the fewer pictures are needed; with equal numbers as many as
    for items. So of a crowded picture only the M best are accepted, with M such that at least ``EVEN``
    of all labels over the threshold are: it is found without the truth and does not fall from
    threshold to threshold, so that what is accepted grows.

    Args:
        held: labels of the held-out pictures, these in random order, with ``wrong``.
        others: the labels to be kept or not.
        target: share of right labels, in (0, 1).
        confidence: in (0, 1).
        thresholds: (T,) falling, among which is chosen; they must not depend on the truth of the
            held-out pictures. ``THRESHOLDS`` that accept evenly more of the labels when None.

    Raises:
        ValueError: as ``promise_items``, or held-out labels of which nobody knows whether they are
            right.
    """
    if held.wrong is None or not held.scores.shape == held.wrong.shape == held.pictures.shape:
        raise ValueError("scores, wrong flags and pictures of held-out labels are of one length")
    if thresholds is None:
        thresholds = thresholds_of(others.scores.cpu().double(), THRESHOLDS)
    width, both = len(thresholds), (held, others)
    levels, ranks = [rows.levels(thresholds) for rows in both], [rows.ranks() for rows in both]
    most = most_per_picture(torch.cat(levels), torch.cat(ranks), width, EVEN)
    mine, theirs = (
        rows.counts(within_most(level, rank, most), width)
        for rows, level, rank in zip(both, levels, ranks, strict=True)
    )
    total = len(others.scores)
    promise = promise_counts(thresholds, mine, theirs, total, target, confidence, most)
    if promise.bound is None:
        return promise
    # What is promised where none is left out is of crowded pictures too.
    whole = held.counts(levels[0], width), others.counts(levels[1], width)
    return replace(promise, bound=_bound_of_all(*whole, 1 - confidence))


def promise_tags(
    probs: Tensor, truth: Tensor, others: Tensor, *, target: float, confidence: float
) -> Promise:
    """Of tags, any number for each item: at least ``target`` of the tags that are given are true.

    A tag is given where its probability reaches the threshold. The item is the unit: see
    ``promise_rows``, with the K tags as the labels of an item; what is kept of ``others`` is
    ``keeps(others, pictures=torch.arange(m)[:, None].expand(-1, K))``.

    Args:
        probs: (n, K) of the held-out items, in random order.
        truth: (n, K) bool.
        others: (m, K) of the items to be tagged.
        target: share of true ones among the tags that are given, in (0, 1).
        confidence: in (0, 1).

    Raises:
        ValueError: as ``promise_items``.
    """
    items = torch.arange(len(probs)).repeat_interleave(probs.shape[1])
    places = torch.arange(len(others)).repeat_interleave(others.shape[1])
    return promise_rows(
        Rows(probs.flatten(), items, len(probs), ~truth.bool().flatten()),
        Rows(others.flatten(), places, len(others)),
        target=target,
        confidence=confidence,
        thresholds=fine_thresholds_of(others.flatten().cpu().double(), THRESHOLDS),
    )


def promise_each_tag(
    probs: Tensor, truth: Tensor, others: Tensor, *, target: float, confidence: float
) -> Promise:
    """``promise_tags`` for each tag by itself, with a threshold of its own.

    An item has one label of a tag, which is right where the item has that tag: so each is a
    ``promise_items`` over all held-out items, with ``family_confidence``. With ``confidence`` all of
    them hold together, whatever depends on what, and with them the promise over all tags that are
    given. What is kept of ``others`` is ``keeps(others, torch.arange(K).expand(m, K))``.

    Args:
        probs, truth, others: as there; the order of the held-out items does not matter.
        target, confidence: as there.

    Raises:
        ValueError: as ``promise_items``.
    """
    count = probs.shape[1]
    level = family_confidence(confidence, count)
    each = [
        promise_items(
            probs[:, k], ~truth[:, k].bool(), others[:, k], target=target, confidence=level
        )
        for k in range(count)
    ]
    return of_classes(each, len(probs), others.numel(), target, confidence)


def promise_pixels(
    confidence_map: Tensor,
    wrong: Tensor,
    judged: Tensor,
    others: Tensor,
    *,
    target: float,
    confidence: float,
) -> Promise:
    """Of pixels: at least ``target`` of the accepted ones are right, the picture being the unit.

    As ``promise_rows``, with the pixels of a picture as its labels. Confidences are compared as
    float16.

    Args:
        confidence_map: (n, H, W) of the held-out pictures, in random order; negative or NaN is never
            accepted.
        wrong: (n, H, W) bool.
        judged: (n, H, W) bool, where the truth is known; other pixels do not count.
        others: (m, H, W) confidences of the pixels to be kept or not.
        target: share of right pixels, in (0, 1).
        confidence: in (0, 1).

    Raises:
        ValueError: as ``promise_items``.
    """
    if not confidence_map.shape == wrong.shape == judged.shape:
        raise ValueError("confidence, wrong and judged differ in shape")
    thresholds, counts, there = count_pixels(confidence_map, wrong, judged, others, THRESHOLDS)
    total = int((others >= 0).sum())
    return promise_counts(thresholds, counts, there, total, target, confidence)


def expected_threshold(counts: Counts, thresholds: Tensor, target: float) -> float | None:
    """The laxest threshold at which the *expected* share of wrong pixels in a picture is at most
    ``1 - target``, by conformal risk control; None when there is none.

    The loss of a picture is the share of wrong ones among its accepted labels, 0 without any; so that
    it does not rise with the threshold, its largest value at this threshold or any stricter one is
    taken. It needs ``1 / (1 - target) - 1`` pictures, fewer than a promise with confidence, and says
    less: see ``conformal_risk``.

    Args:
        counts: of the held-out pictures at the ``thresholds`` (T,), falling.
        thresholds: (T,).
        target: in (0, 1).
    """
    check_share("target", target)
    losses = (counts.wrong / counts.accepted.clamp_min(1)).cummax(1).values
    fit = (conformal_risk(losses) <= 1 - target).nonzero().flatten()
    return float(thresholds[fit[-1]]) if len(fit) else None


def promise_counts(
    thresholds: Tensor,
    counts: Counts,
    others: Counts,
    total: int,
    target: float,
    confidence: float,
    most: Tensor | None = None,
) -> Promise:
    """``promise_rows`` from how many labels of each picture reach each threshold.

    Args:
        thresholds: (T,) falling; they must not depend on the truth of the held-out pictures.
        counts: of the held-out pictures, in random order.
        others: of the pictures whose labels are kept or not; ``wrong`` is not used.
        total: labels of these, those that reach no threshold included.
        target, confidence: as there.
        most: (T,) labels of a picture that are accepted at most, where there is such a limit.

    Raises:
        ValueError: shares outside (0, 1).
    """
    check_share("target", target)
    check_share("confidence", confidence)
    risk, delta, count = 1 - target, 1 - confidence, len(counts.accepted)
    largest = _largest(counts, others)
    losses = _ratio_losses(counts, largest, risk)
    p_values = torch.maximum(
        betting_p_value(losses, risk, delta),
        betting_p_value(losses, risk, delta, others=len(others.accepted)),
    )
    # What a picture adds at best; that of pictures whose labels are all right.
    gain = torch.log1p(risk * others.accepted.double() / largest).sum(0) / max(
        1, len(others.accepted)
    )
    potential = count * gain
    starts = sequence_starts(potential, delta)
    chosen = fixed_sequences(p_values, starts, delta)
    kept = others.accepted.sum(0)
    bound = _bound_of_all(counts, others, delta) if count and len(thresholds) else None
    promise = promise_at(thresholds, kept, total, chosen, count, target, confidence, bound)
    if most is not None and promise.held:
        promise = replace(promise, most_per_picture=int(most[chosen]))
    needed = estimate = None
    if len(thresholds) and float(gain.max()) > 0:
        needed = math.ceil(-math.log(delta) / float(gain.max()))
    if not promise.held and len(thresholds) and float(p_values.min()) < 1:
        estimate = math.ceil(count * math.log(delta / len(starts)) / math.log(p_values.min()))
        estimate = estimate if estimate <= LARGEST_NEED else None
    return replace(promise, needed=needed, estimate=estimate)


def _ratio_losses(counts: Counts, most: Tensor, risk: float) -> Tensor:
    return risk + (counts.wrong.double() - risk * counts.accepted.double()) / most


def _largest(counts: Counts, others: Counts) -> Tensor:
    """(T,) the most labels that are accepted of any picture, at least 1."""
    nothing = torch.ones(1, counts.accepted.shape[1], dtype=torch.float64)
    return torch.cat([counts.accepted, others.accepted, nothing]).amax(0)


def _bound_of_all(counts: Counts, others: Counts, delta: float) -> float:
    """The largest accuracy that can be promised of all labels: accuracies are tested from 0 up, each
    after the last was shown."""
    last = Counts(counts.accepted[:, -1:], counts.wrong[:, -1:])
    most = _largest(counts, others)[-1:]
    accuracies = torch.linspace(0.01, 0.999, 199, dtype=torch.float64)
    losses = torch.cat(
        [_ratio_losses(last, most, 1 - float(accuracy)) for accuracy in accuracies], 1
    )
    shown = betting_p_value(losses, 1 - accuracies, delta) <= delta
    passed = int(shown.int().cumprod(0).sum())
    return float(accuracies[passed - 1]) if passed else 0.0
