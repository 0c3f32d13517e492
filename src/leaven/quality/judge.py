"""The judgements behind the health findings: limits with their reasons, and the words.

Each function takes figures of one window and returns a verdict (level, text), or None when all is
well. The texts say what was seen, what it means, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Verdict: TypeAlias = tuple[Literal["info", "warning", "error"], str]

WARM_UP = 1
"""Windows at the start in which shares and spreads are not judged: a fresh network says one class
for everything, and easy classes pass a threshold first."""

FEW_ACCEPTED = 0.05
"""Below this share of accepted proposals a batch of 448 has about 20 labels from unlabelled items,
fewer than its labelled ones: the unlabelled items hardly count."""

SPREAD = 0.3
"""Total variation between accepted and labelled classes: so large a share of the accepted labels
would have to change class. Labelled sets that mirror their data and sampling noise stay far below."""

SPREAD_LABELS_PER_CLASS = 10
"""Spreads of fewer accepted labels per class are mostly sampling noise."""

COLLAPSED_CLASSES = 0.3
"""Collapsed when the effective number of predicted classes (the exponential of the entropy) is under
this share of what the labelled items show. A model in use stays close to 1."""

COLLAPSED_SHARE, COMMON_SHARE = 0.95, 0.8
"""With few classes the effective number says little: then one class taking so large a share, while
it has at most the other share among the labelled items, is a collapse."""

LATE, LATE_WINDOWS = 0.5, 5
"""Teacher and student may differ while both learn: judged from half of the budget on, or, when the
budget is not known, from this window on."""

DISAGREEMENT = 0.5
"""Strong views cost a student up to about a third of its agreement; more than half is no view."""

DEAD_LOSS, DEAD_SHARE = 1e-8, 0.99
"""A loss this small moves no float32 weight. A window with this share of such steps is dead."""

GRAVE_SKIPS = 0.1
"""One odd batch is skipped at little cost; a tenth of all steps means that training fails."""

OVER_CONFIDENT = 0.1
"""Mean confidence above the accuracy by this much: one in ten of the sure labels is wrong unseen.
On 40 held-out labels chance alone gives about 0.06."""

NAMED = 3
"""So many classes are named in a text."""


def nothing_accepted(steps: int, highest: float, threshold: float | None, grave: bool) -> Verdict:
    """No proposal was accepted for ``steps`` steps."""
    if threshold is None:
        cause = f"the highest confidence was {highest:.2f}"
    elif highest < threshold:
        cause = f"the highest confidence, {highest:.2f}, is under the threshold {threshold:.2f}"
    else:
        cause = (
            f"although the highest confidence, {highest:.2f}, reaches the threshold {threshold:.2f}"
        )
    text = (
        f"No pseudo-label was accepted in {steps} steps: {cause}. The unlabelled items teach the "
        "model nothing. Train longer on the labels first, lower the threshold, or take a method "
        "whose threshold follows the model."
    )
    return ("error" if grave else "warning"), text


def few_accepted(share: float, steps: int, threshold: float | None) -> Verdict | None:
    """A small ``share`` of the proposals of a window was accepted."""
    if share >= FEW_ACCEPTED:
        return None
    limit = "" if threshold is None else f" (the threshold is {threshold:.2f})"
    return "warning", (
        f"Only {share:.1%} of the pseudo-labels were accepted in the last {steps} steps{limit}. "
        "The model learns from the labelled items almost alone. Lower the threshold, train longer, "
        "or label more items."
    )


def class_spread(accepted: Tensor, prior: Tensor, names: Sequence[str]) -> Verdict | None:
    """Accepted labels per class (K,) are spread unlike ``prior`` (K,), by total variation."""
    if int(accepted.sum()) < SPREAD_LABELS_PER_CLASS * len(prior):
        return None
    share = accepted.double() / accepted.sum()
    gap = share - prior
    distance = float(gap.abs().sum() / 2)
    if distance <= SPREAD:
        return None
    return "warning", (
        f"The accepted labels are spread unlike the labelled items ({distance:.0%} of them would "
        f"have to change class). Too many: {_named(gap, share, prior, names)}. Too few: "
        f"{_named(-gap, share, prior, names)}. Where the unlabelled items really are so, all is "
        "well; else the model feeds on its own errors. Label some items of the rare classes, or "
        "take a method with distribution alignment or thresholds per class."
    )


def collapse(proposed: Tensor, prior: Tensor | None, names: Sequence[str]) -> Verdict | None:
    """Predictions per class (K,) are almost all of one or a few classes."""
    total, num_classes = int(proposed.sum()), len(proposed)
    if total == 0 or num_classes == 1:
        return None
    share = proposed.double() / total
    expected = torch.full_like(share, 1 / num_classes) if prior is None else prior
    top = int(share.argmax())
    few = effective_classes(share) < COLLAPSED_CLASSES * effective_classes(expected)
    one = float(share[top]) >= COLLAPSED_SHARE and float(expected[top]) <= COMMON_SHARE
    if not (few or one):
        return None
    return "error", (
        f"The predictions collapsed: {_named(share, share, expected, names)}, out of {num_classes} "
        "classes. The model has stopped telling the classes apart. Lower the learning rate, raise "
        "the threshold or lower the weight of the unlabelled loss, and look at the labelled items."
    )


def disagreement(agreement: float) -> Verdict | None:
    """Teacher and student agree on the share ``agreement`` of the items."""
    if agreement >= 1 - DISAGREEMENT:
        return None
    return "warning", (
        f"Teacher and student disagree on {1 - agreement:.0%} of the unlabelled items. The student "
        "does not learn what the teacher says: the strong views may destroy the pictures, or the "
        "teacher changes too slowly or too fast. Try weaker views or another EMA momentum."
    )


def dead_loss(silent: Mapping[str, int], steps: int, accepted: int | None) -> Verdict | None:
    """Losses of unlabelled items were (nearly) zero; ``silent`` counts such steps by name."""
    dead = [name for name, count in silent.items() if count >= DEAD_SHARE * steps]
    if not dead:
        return None
    if accepted is None:
        cause = "The unlabelled items teach the model nothing. Look at the weight of this loss."
    elif accepted == 0:
        cause = "No label was accepted, so there is nothing to learn from: see nothing-accepted."
    else:
        cause = (
            f"{accepted} labels were accepted, yet they teach the model nothing: it already says "
            "the same of both views, or the weight of this loss is zero. Use stronger views, or "
            "look at the weight."
        )
    named = ", ".join(repr(name) for name in dead)
    return "warning", f"The loss {named} was zero for the last {steps} steps. {cause}"


def non_finite(total: int, by_name: Mapping[str, int], recent: int, steps: int) -> Verdict:
    """``total`` steps were skipped, ``recent`` of the last ``steps``."""
    named = ", ".join(f"{name!r} ({count})" for name, count in by_name.items())
    plural = "step was" if total == 1 else "steps were"
    text = (
        f"{total} {plural} skipped because a value was not finite: {named}. The weights are "
        "untouched by it. Lower the learning rate, clip the gradient, or use precision fp32; if one "
        "loss is named alone, look at what goes into it."
    )
    return ("error" if recent >= GRAVE_SKIPS * steps else "warning"), text


def over_confident(metrics: Mapping[str, float]) -> Verdict | None:
    """Mean confidence on held-out labels is well above the accuracy."""
    confidence, accuracy = metrics.get("confidence"), metrics.get("accuracy")
    if confidence is None or accuracy is None or confidence - accuracy <= OVER_CONFIDENT:
        return None
    error = f" (calibration error {metrics['ece']:.2f})" if "ece" in metrics else ""
    return "warning", (
        f"The model is over-confident: on held-out labels it is {confidence:.0%} sure and "
        f"{accuracy:.0%} right{error}. Accepted labels are wrong more often than their confidence "
        "says. Raise the threshold, calibrate with a temperature, or label more items."
    )


def no_held_out() -> Verdict:
    """There are no held-out labels."""
    return "info", (
        "There are no held-out labels, so the accuracy of the model and of its labels is not "
        "known, only estimated. Put labelled items aside in a val or test folder to measure it."
    )


def effective_classes(share: Tensor) -> float:
    """``exp(-sum_k s_k log s_k)``: K for a uniform ``share`` (K,), 1 for one class alone."""
    return float(torch.special.entr(share).sum().exp())


def _named(rank: Tensor, share: Tensor, prior: Tensor, names: Sequence[str]) -> str:
    """The classes of largest positive ``rank``, with their share now and among the labelled."""
    order = [int(k) for k in rank.argsort(descending=True)[:NAMED] if rank[k] > 0]
    return ", ".join(f"{names[k]!r} {share[k]:.0%} (labelled: {prior[k]:.0%})" for k in order)
