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

ALL_BUT_A_FEW = 0.999
"""Of pixels whose true shares nobody knows."""

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

ONE_SIDED = 0.98
"""A critic that tells so many patches right has nothing left to learn, and what it asks for hardly
depends on what the generator does. Where the two keep up with each other it is right in 60 to 90 %."""

AVALANCHE, FEW_BOXES = 4.0, 1.0
"""So many times the boxes of a labelled picture: if unlabelled pictures show as much as labelled
ones, three of four boxes are wrong. Under the other number of boxes per picture a handful of
labelled pictures does not tell how many are usual, and that number is taken."""

VANISHED_SHARE = 0.01
"""A class with under this share of the labels that it should have is gone: what is left are strays."""

VANISHED_BOXES, VANISHED_PIXELS = 50, 50_000
"""A class is judged gone when at least so many boxes or pixels of it were to be expected. They come
in groups, a picture at a time: this is a few dozen pictures, too many to be missed by chance."""

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


def no_boxes(steps: int, highest: float | None, threshold: float | None, grave: bool) -> Verdict:
    """No pseudo-box for ``steps`` steps; ``highest`` is None where the teacher proposed nothing."""
    if highest is None:
        cause, do = "the teacher proposes nothing at all", "See empty-teacher."
    elif threshold is not None and highest < threshold:
        cause = f"the highest score, {highest:.2f}, is under the threshold {threshold:.2f}"
        do = (
            "Train longer on the labels first, lower the threshold, or take a method whose "
            "threshold follows the scores."
        )
    else:
        limit = "" if threshold is None else f" and the threshold {threshold:.2f}"
        cause = f"the highest score was {highest:.2f}{limit}"
        do = (
            "So it is not the score that stops them: look at the other conditions (least size, "
            "agreement of boxes, suppression of overlaps), and train longer on the labels first."
        )
    text = (
        f"No pseudo-box in {steps} steps: {cause}. The unlabelled pictures teach the model that "
        f"there is nothing in them, or nothing at all. {do}"
    )
    return ("error" if grave else "warning"), text


SLOW = 0.25
"""The largest share of a loop that a teacher may average over: what it says in the end is then of
the last quarter."""


def empty_teacher(steps: int, grave: bool) -> Verdict:
    """The teacher detected nothing in any picture of a window, at any score."""
    return ("error" if grave else "warning"), (
        f"The teacher detected nothing in {steps} steps, before any threshold, so a lower threshold "
        "does not help. Either it has not learnt to detect yet: train longer on the labels before "
        "the unlabelled pictures take part; or it has been lost: start it as a copy of the trained "
        "student, average batch statistics too, and lower the learning rate. Look also at the least "
        "score that the detector itself reports."
    )


def slow_teacher(decay: float, steps: int, predicts: bool) -> Verdict | None:
    """A teacher with that ``decay`` of its averaged weights, in a loop of so many ``steps``."""
    span = 1 / (1 - decay)
    better = 1 - 1 / max(2.0, steps * SLOW / 2)
    if span <= steps * SLOW or decay <= better:
        return None
    work = "predicts and gives labels" if predicts else "gives labels"
    return "warning", (
        f"Weights are averaged over about {span:.0f} steps (decay {decay:g}), and there are {steps}: "
        f"the averaged network, which {work}, stays behind the trained one. Train "
        f"longer, or take a smaller decay: --set ema={better:.4g}."
    )


def avalanche(found: float, typical: float) -> Verdict | None:
    """``found`` pseudo-boxes per picture, where labelled pictures have ``typical``."""
    if found <= AVALANCHE * max(typical, FEW_BOXES):
        return None
    return "warning", (
        f"There are {found:.1f} pseudo-boxes per picture; labelled pictures have {typical:.1f}. Most "
        "of them must be wrong, or lie over each other, unless the unlabelled pictures really show "
        "more, and the model learns to say more of the kind. Raise the threshold, suppress overlaps "
        "more strictly, or lower the weight of the unlabelled loss."
    )


def vanished(accepted: Tensor, prior: Tensor, by_pixel: bool) -> Tensor:
    """(K,) bool: classes that should be among the accepted labels per class (K,) and are not."""
    expected = accepted.sum() * prior
    enough = VANISHED_PIXELS if by_pixel else VANISHED_BOXES
    return (expected >= enough) & (accepted < VANISHED_SHARE * expected)


def vanished_class(
    gone: Tensor, accepted: Tensor, prior: Tensor, names: Sequence[str], steps: int
) -> Verdict | None:
    """Classes ``gone`` (K,) bool are in the labelled data and not in the pseudo-labels."""
    if not bool(gone.any()):
        return None
    share = accepted.double() / accepted.sum()
    more = int(gone.sum()) - NAMED
    rest = f" and {more} more" if more > 0 else ""
    return "warning", (
        f"Classes of the labelled data are missing from the pseudo-labels of the last {steps} steps: "
        f"{_named(prior * gone, share, prior, names)}{rest}. Where no label says it is there, the "
        "unlabelled data teach that it is not, and the model forgets it. Lower the threshold of such "
        "classes or take one per class, show or paste them more often, or label more of them."
    )


def class_spread(
    accepted: Tensor, prior: Tensor, names: Sequence[str], steps: int
) -> Verdict | None:
    """Accepted labels per class (K,) of so many steps are spread unlike ``prior`` (K,), by total variation."""
    if int(accepted.sum()) < SPREAD_LABELS_PER_CLASS * len(prior):
        return None
    share = accepted.double() / accepted.sum()
    gap = share - prior
    distance = float(gap.abs().sum() / 2)
    if distance <= SPREAD:
        return None
    return "warning", (
        f"The labels accepted in the last {steps} steps are spread unlike the labelled items "
        f"({distance:.0%} of them would have to change class). Too many: {_named(gap, share, prior, names)}. Too few: "
        f"{_named(-gap, share, prior, names)}. Where the unlabelled items really are so, all is "
        "well; else the model feeds on its own errors. Label some items of the rare classes, or "
        "take a method with distribution alignment or thresholds per class."
    )


def collapse(
    proposed: Tensor, prior: Tensor | None, names: Sequence[str], by_pixel: bool = False
) -> Verdict | None:
    """Predictions per class (K,) are almost all of one or a few classes.

    Without a prior equal shares are expected of items; of pixels nothing is, for a background may
    well be all but a few of them, and only a single class is a collapse.
    """
    total, num_classes = int(proposed.sum()), len(proposed)
    if total == 0 or num_classes == 1:
        return None
    share = proposed.double() / total
    if prior is None and by_pixel:
        collapsed = float(share.max()) >= ALL_BUT_A_FEW
    else:
        expected = torch.full_like(share, 1 / num_classes) if prior is None else prior
        top = int(share.argmax())
        few = effective_classes(share) < COLLAPSED_CLASSES * effective_classes(expected)
        one = float(share[top]) >= COLLAPSED_SHARE and float(expected[top]) <= COMMON_SHARE
        collapsed = few or one
    if not collapsed:
        return None
    return "error", (
        f"The predictions collapsed: {_named(share, share, prior, names)}, out of {num_classes} "
        "classes. The model has stopped telling the classes apart. Lower the learning rate, raise "
        "the threshold or lower the weight of the unlabelled loss, and look at the labelled items."
    )


def disagreement(agreement: float) -> Verdict | None:
    """Teacher and student agree on the share ``agreement`` of the items."""
    if agreement >= 1 - DISAGREEMENT:
        return None
    return "warning", (
        f"On {1 - agreement:.0%} of the unlabelled items the network says another thing than the "
        "pseudo-label that it is to learn: strong views may destroy the pictures, or what gives the "
        "labels (an averaged teacher, or another network) changes too slowly or too fast. Try weaker "
        "views, another EMA momentum or a lower learning rate."
    )


def dead_loss(
    silent: Mapping[str, int], steps: int, accepted: int | None, code: str = "nothing-accepted"
) -> Verdict | None:
    """Losses of unlabelled items were (nearly) zero; ``silent`` counts such steps by name.

    ``code`` is the finding that says why nothing was accepted.
    """
    dead = [name for name, count in silent.items() if count >= DEAD_SHARE * steps]
    if not dead:
        return None
    if accepted is None:
        cause = "The unlabelled items teach the model nothing. Look at the weight of this loss."
    elif accepted == 0:
        cause = f"No label was accepted, so there is nothing to learn from: see {code}."
    else:
        cause = (
            f"{accepted} labels were accepted, yet they teach the model nothing: it already says "
            "the same of both views, or the weight of this loss is zero. Use stronger views, or "
            "look at the weight."
        )
    named = ", ".join(repr(name) for name in dead)
    return "warning", f"The loss {named} was zero for the last {steps} steps. {cause}"


def one_sided(share: float, steps: int) -> Verdict | None:
    """A critic tells nearly all real patches from made ones."""
    if share < ONE_SIDED:
        return None
    return "warning", (
        f"The critic told {share:.1%} of the patches right over the last {steps} steps: made pictures "
        "do not deceive it, and it has little left to teach. Look at the samples; if they are not "
        "good, make it weaker (fewer layers, fewer channels), train on more pairs, or give the other "
        "losses more weight."
    )


def non_finite_outputs(items: int, of: int) -> Verdict:
    """Of so many items the model gives no numbers."""
    return "error", (
        f"Of {items} of {of} items the model says nothing that is a number; they are given equal shares of "
        "all classes. Its weights have grown beyond all bounds: lower the learning rate, or clip the "
        "gradient, and train anew."
    )


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
    confidence = metrics.get("confidence")
    accuracy = metrics.get("accuracy", metrics.get("pixel_accuracy"))
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


def _named(rank: Tensor, share: Tensor, prior: Tensor | None, names: Sequence[str]) -> str:
    """The classes of largest positive ``rank``, with their share now and among the labelled."""
    order = [int(k) for k in rank.argsort(descending=True)[:NAMED] if rank[k] > 0]
    labelled = ["" if prior is None else f" (labelled: {prior[k]:.0%})" for k in order]
    return ", ".join(
        f"{names[k]!r} {share[k]:.0%}{also}" for k, also in zip(order, labelled, strict=True)
    )
