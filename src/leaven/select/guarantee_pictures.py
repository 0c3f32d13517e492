"""Promises of labels of which a picture has several: boxes, tags, pixels. The picture is the unit."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from leaven.select.accepted_counts import Counts, count_pixels, count_rows
from leaven.select.guarantee import LARGEST_NEED, Promise, check_share, promise_at
from leaven.select.learn_then_test import fixed_sequences, sequence_starts, thresholds_of
from leaven.select.risk_bounds import betting_p_value, conformal_risk

THRESHOLDS = 200
"""Among so many is chosen; each is a column of all held-out pictures."""


def promise_rows(
    scores: Tensor,
    wrong: Tensor,
    pictures: Tensor,
    count: int,
    others: Tensor,
    other_pictures: Tensor,
    other_count: int,
    *,
    target: float,
    confidence: float,
) -> Promise:
    """Of labels of which a picture has several, such as boxes: the picture is the unit.

    Labels of one picture are not independent, so that a thousand boxes in 50 pictures are 50
    observations. At a threshold let picture i have A_i accepted labels, W_i of them wrong. At least
    ``target = 1 - alpha`` of the accepted labels are right where ``E[W - alpha A] <= 0``, which is

    ``E[L] <= alpha``  of the losses  ``L_i = alpha + (W_i - alpha A_i) / M``  in [0, 1],

    with M the largest number of accepted labels in any picture, held-out or other: it is known
    without the truth. ``betting_p_value`` tests this at each threshold, with the other pictures as
    what the promise is about; the choice is that of ``fixed_sequences``.

    The more even the numbers of labels, the fewer pictures are needed; with equal numbers as many as
    for items.

    Args:
        scores: (r,) of the labels of the held-out pictures; NaN is never accepted.
        wrong: (r,) bool.
        pictures: (r,) int64, whose labels they are, in 0..n-1, the pictures in random order.
        count: n, pictures without any label included.
        others: (s,) scores of the labels to be kept or not.
        other_pictures: (s,) int64, their pictures.
        other_count: how many pictures these are.
        target: share of right labels, in (0, 1).
        confidence: in (0, 1).

    Raises:
        ValueError: as ``promise_items``.
    """
    if not scores.shape == wrong.shape == pictures.shape:
        raise ValueError(f"{len(scores)} scores, {len(wrong)} wrong flags, {len(pictures)} places")
    thresholds = thresholds_of(others.cpu().double(), THRESHOLDS)
    counts = count_rows(scores, wrong, pictures, count, thresholds)
    there = count_rows(others, None, other_pictures, other_count, thresholds)
    return promise_counts(thresholds, counts, there, len(others), target, confidence)


def promise_tags(
    probs: Tensor, truth: Tensor, others: Tensor, *, target: float, confidence: float
) -> Promise:
    """Of tags, any number for each item: at least ``target`` of the tags that are given are true.

    A tag is given where its probability reaches the threshold. The item is the unit: see
    ``promise_rows``, with the K tags as the labels of an item.

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
        probs.flatten(),
        ~truth.bool().flatten(),
        items,
        len(probs),
        others.flatten(),
        places,
        len(others),
        target=target,
        confidence=confidence,
    )


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
) -> Promise:
    """``promise_rows`` from how many labels of each picture reach each threshold.

    Args:
        thresholds: (T,) falling; they must not depend on the truth of the held-out pictures.
        counts: of the held-out pictures, in random order.
        others: of the pictures whose labels are kept or not; ``wrong`` is not used.
        total: labels of these, those that reach no threshold included.
        target, confidence: as there.

    Raises:
        ValueError: shares outside (0, 1).
    """
    check_share("target", target)
    check_share("confidence", confidence)
    risk, delta, count = 1 - target, 1 - confidence, len(counts.accepted)
    nothing = torch.ones(1, len(thresholds), dtype=torch.float64)
    most = torch.cat([counts.accepted, others.accepted, nothing]).amax(0)
    losses = _ratio_losses(counts, most, risk)
    p_values = torch.maximum(
        betting_p_value(losses, risk, delta),
        betting_p_value(losses, risk, delta, others=len(others.accepted)),
    )
    # What a picture adds at best; that of pictures whose labels are all right.
    gain = torch.log1p(risk * others.accepted.double() / most).sum(0) / max(1, len(others.accepted))
    potential = count * gain
    starts = sequence_starts(potential, delta)
    chosen = fixed_sequences(p_values, starts, delta)
    kept = others.accepted.sum(0)
    bound = _group_bound(counts, most, delta) if count and len(thresholds) else None
    promise = promise_at(thresholds, kept, total, chosen, count, target, confidence, bound)
    needed = estimate = None
    if len(thresholds) and float(gain.max()) > 0:
        needed = math.ceil(-math.log(delta) / float(gain.max()))
    if not promise.held and len(thresholds) and float(p_values.min()) < 1:
        estimate = math.ceil(count * math.log(delta / len(starts)) / math.log(p_values.min()))
        estimate = estimate if estimate <= LARGEST_NEED else None
    return replace(promise, needed=needed, estimate=estimate)


def _ratio_losses(counts: Counts, most: Tensor, risk: float) -> Tensor:
    return risk + (counts.wrong.double() - risk * counts.accepted.double()) / most


def _group_bound(counts: Counts, most: Tensor, delta: float) -> float:
    """The largest accuracy that can be promised of all labels: accuracies are tested from 0 up, each
    after the last was shown."""
    last = Counts(counts.accepted[:, -1:], counts.wrong[:, -1:])
    accuracies = torch.linspace(0.01, 0.999, 199, dtype=torch.float64)
    losses = torch.cat(
        [_ratio_losses(last, most[-1:], 1 - float(accuracy)) for accuracy in accuracies], 1
    )
    shown = betting_p_value(losses, 1 - accuracies, delta) <= delta
    passed = int(shown.int().cumprod(0).sum())
    return float(accuracies[passed - 1]) if passed else 0.0
