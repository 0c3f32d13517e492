"""How many more labels could be accepted if the label of an item were known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.quality.acquisition.directions import nearest

OUTCOMES = 8
"""Of an item with more classes, so many of the likeliest labels are thought through; with any
other one nothing is learned about its neighbours."""

NEIGHBOURS = 10
SMALLEST_PRICE = 1e-3
"""Accepting an item right at the target costs nothing; the price that is reckoned with is not
below this."""

_AT_ONCE = 2**23


@dataclass(frozen=True)
class Acceptance:
    """How many of a set of labels can be accepted at a target accuracy, and what one is worth.

    With chances ``q_i`` of being right, the most labels whose expected accuracy is ``target`` or
    more are ``max sum_i x_i`` under ``sum_i x_i (q_i - target) >= 0`` and ``0 <= x_i <= 1``. Its
    dual has one price ``lambda`` of the constraint, and at the ``threshold`` t of the last label
    that is accepted, ``lambda = 1 / (target - t)``. So a label with the chance q adds

        ``value(q) = max(0, (q - t) / (target - t))``

    labels: none below the threshold, one at the target, more above it, because what it has to spare
    pays for others. ``sum_i value(q_i)`` is the ``number``. For other chances ``q'`` the same sum
    with this t is at least the new number (weak duality), and equal to it for small changes.

    Attributes:
        target: the accuracy that is promised.
        threshold: t; below the target.
        number: of labels that can be accepted, in expectation and with parts of a label counted.
        everything: all can be accepted: a label that is known adds none.
    """

    target: float
    threshold: float
    number: float
    everything: bool

    @classmethod
    def of(cls, confidence: Tensor, target: float, count: Tensor | None = None) -> Acceptance:
        """Of chances (n,), each of ``count`` (n,) labels; of one each when None.

        Raises:
            ValueError: a target outside (0, 1).
        """
        if not 0 < target < 1:
            raise ValueError(f"a target accuracy is above 0 and below 1, not {target}")
        q, order = confidence.double().flatten().sort(descending=True, stable=True)
        many = torch.ones_like(q) if count is None else count.double().flatten()[order]
        spare = (many * (q - target)).cumsum(0)
        total = float(many.sum())
        if len(q) == 0 or float(spare[-1]) >= 0:
            return cls(target, 0.0, total, True)
        # spare rises while q is above the target and falls from then on.
        last = int(((spare < 0) & (q < target)).nonzero()[0])
        before = float(spare[last - 1]) if last else 0.0
        threshold = float(q[last])
        whole = float(many[:last].sum())
        part = min(float(many[last]), max(0.0, before) / max(target - threshold, SMALLEST_PRICE))
        return cls(target, threshold, whole + part, False)

    def value(self, confidence: Tensor) -> Tensor:
        """The labels that a chance of being right stands for; of the shape of ``confidence``."""
        if self.everything:
            return torch.ones_like(confidence)
        price = max(self.target - self.threshold, SMALLEST_PRICE)
        return ((confidence - self.threshold) / price).clamp_min(0)

    def gain(self, confidence: Tensor) -> Tensor:
        """The labels that are gained when a label is known: ``value(1) - value(q)``."""
        return self.value(torch.ones_like(confidence)) - self.value(confidence)

    def gain_of_check(self, confidence: Tensor) -> Tensor:
        """The labels that are gained when it is known whether a label is right, and a wrong one
        goes: ``q value(1) - value(q)``, never negative as ``value`` is convex where it is not all
        of them."""
        if self.everything:
            return torch.zeros_like(confidence)
        return confidence * self.value(torch.ones_like(confidence)) - self.value(confidence)


def promise_gain(
    probs: Tensor, directions: Tensor, target: float, rows: Tensor | None = None
) -> Tensor:
    """The expected gain in accepted labels when the label of an item becomes known.

    ``gain_i = value(1) - value(q_i) + sum_j sum_y p_i(y) [value(max_c p_j(c | y)) - value(q_j)]``

    over the 10 nearest items j, with ``q = max_c p(c)`` and ``value`` of ``Acceptance``. What the
    label y of i says of j follows from how alike they are, ``s = max(0, cos)``: with the chance s
    the two labels are coupled so that they agree as often as their distributions allow (the maximal
    coupling), else they are independent,

        ``p_j(c | y) = (1 - s) p_j(c) + s [ a_y 1(c = y) + (1 - a_y) r(c) ]``,
        ``a_y = min(p_i(y), p_j(y)) / p_i(y)``,  ``r = max(0, p_j - p_i) / sum max(0, p_j - p_i)``.

    Its mean over y is ``p_j``: nobody expects to change his mind in a direction, so that only what
    is learned counts, and no gain is negative (``value`` of the maximum is convex).

    How far to trust it: it is as honest as the probabilities. A model that is too sure of itself
    thinks it has little to gain; likeness in feature space is taken for likeness of labels, unproved;
    the training that follows, from which most of the gain comes, is not foreseen; and the promise of
    a run is made from held-out labels with a margin for their number, which a label elsewhere does
    not change. The number ranks items; it is no forecast.

    Args:
        probs: (n, K) probabilities of all items that have no label.
        directions: (n, D) unit vectors.
        target: the accuracy of the promise, in (0, 1).
        rows: (m,) int64, the items that are asked for; all when None.

    Returns:
        (m,) float32, labels, 0 or more; zeros where all can be accepted already.

    Raises:
        ValueError: a target outside (0, 1).

    Sources: Roy and McCallum, "Toward optimal active learning through sampling estimation of error
    reduction", ICML 2001 (the expected change over the labels an item may have); Zhu, Lafferty and
    Ghahramani, "Combining active learning and semi-supervised learning using Gaussian fields",
    ICML 2003 workshop (through its neighbours). The quantity and its coupling are leaven's own.
    """
    rows = torch.arange(len(probs), device=probs.device) if rows is None else rows
    probs = probs.float()
    sure = probs.amax(1)
    acceptance = Acceptance.of(sure, target)
    if acceptance.everything or len(rows) == 0:
        return probs.new_zeros(len(rows))
    near, likeness = nearest(directions[rows], directions, rows, NEIGHBOURS)
    own = acceptance.gain(sure[rows])
    outcomes = min(OUTCOMES, probs.shape[1])
    step = max(1, _AT_ONCE // max(1, near.shape[1] * outcomes * probs.shape[1]))
    parts = [
        _through_neighbours(probs, sure, acceptance, *some)
        for some in zip(rows.split(step), near.split(step), likeness.split(step), strict=True)
    ]
    return (own + torch.cat(parts)).clamp_min(0)


def _through_neighbours(
    probs: Tensor, sure: Tensor, acceptance: Acceptance, rows: Tensor, near: Tensor, s: Tensor
) -> Tensor:
    """(b,) what the labels of ``rows`` (b,) are worth for their neighbours (b, k)."""
    if near.shape[1] == 0:
        return probs.new_zeros(len(rows))
    theirs, mine = probs[near], probs[rows][:, None]
    chance, label = probs[rows].topk(min(OUTCOMES, probs.shape[1]), dim=1)
    above = (theirs - mine).clamp_min(0)
    rest = above / above.sum(2, keepdim=True).clamp_min(torch.finfo(probs.dtype).tiny)
    at = label[:, None].expand(-1, near.shape[1], -1)
    # (b, k, Y): how often the neighbour agrees with each outcome.
    agree = (theirs.gather(2, at) / chance[:, None].clamp_min(1e-12)).clamp_max(1)
    s = s[..., None]
    after = (1 - s[..., None]) * theirs[:, :, None] + (
        s[..., None] * (1 - agree)[..., None] * rest[:, :, None]
    )
    after = after.scatter_add(3, at[..., None], (s * agree)[..., None])
    gained = acceptance.value(after.amax(3)) - acceptance.value(sure[near])[..., None]
    return (chance[:, None] * gained).sum((1, 2))
