"""What is said of a promise: its entry in a summary, and its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from leaven.data.listing import some
from leaven.job.config import RunConfig
from leaven.quality.accuracy import Shift
from leaven.select.guarantee import Promise

TARGETS = (0.9, 0.95, 0.98, 0.99)
"""For which a run says what would be kept."""


@dataclass(frozen=True)
class Asked:
    """What is asked for: ``target``, ``confidence``, and whether of each class by itself."""

    target: float
    confidence: float
    by_class: bool = False

    @classmethod
    def of(cls, config: RunConfig) -> Asked | None:
        if config.promise is None:
            return None
        return cls(config.promise, config.confidence, config.promise_per_class)


def summary_of(
    promise: Promise,
    each: Promise | None,
    asked: Asked,
    classes: Sequence[str],
    total: int,
    unit: str,
    overall: Callable[[float], Promise],
    measured: Callable[[Promise], float | None],
    shift: Shift | None,
) -> dict[str, Any]:
    """The entry of ``summary.json``.

    Args:
        shift: of what the model says, between the held-out items and the others.
    """
    table = []
    for target in TARGETS:
        one = overall(target)
        table.append(
            {
                "target": target,
                "held": one.held,
                "kept_share": one.kept_share,
                "threshold": one.threshold,
                "accuracy": measured(one) if one.held else None,
            }
        )
    mine = promise.as_dict()
    mine.pop("per_class")
    listed = () if each is None else each.per_class
    return {
        **mine,
        "unit": unit,
        "by_class": asked.by_class,
        "labels": total,
        "needs_person": total - promise.kept,
        "accuracy": measured(promise) if promise.held else None,
        "per_class": [
            {"class": name, **_without_classes(one)}
            for name, one in zip(classes, listed, strict=False)
        ],
        "table": table,
        "text": text_of(promise, total, unit, asked, classes),
        **about_shift(promise, shift),
    }


def about_shift(promise: Promise, shift: Shift | None) -> dict[str, Any]:
    """What is said where the held-out items are not like the others, as a promise takes it."""
    warning = ""
    if promise.held and shift is not None and shift.found:
        warning = (
            "But what the model says of the held-out items lies far from what it says of the others "
            f"(distance {shift.distance:.2f} of 1): it holds for items that are like the held-out "
            "ones, and the others are not. Hold out some of these."
        )
    return {"shift": None if shift is None else shift.as_dict(), "warning": warning}


def _without_classes(promise: Promise) -> dict[str, Any]:
    return {name: value for name, value in promise.as_dict().items() if name != "per_class"}


def text_of(promise: Promise, total: int, unit: str, asked: Asked, classes: Sequence[str]) -> str:
    """The promise in words."""
    if not promise.held:
        return refusal_of(promise, total, unit, asked)
    limit, rest = "", total - promise.kept
    if promise.most_per_picture is not None:
        limit = f" Of a picture {promise.most_per_picture} {unit} are kept at most, its surest."
    needs = "needs" if rest == 1 else "need"
    left = f"The other {rest} {needs} a person." if rest else "None needs a person."
    if asked.by_class:
        limit = given_for(promise, classes, "classes")
    each = " of each class" if asked.by_class else ""
    return (
        f"{promise.kept} of {total} {unit} are kept. At least {in_percent(asked.target)} of them"
        f"{each} are right, with {in_percent(asked.confidence)} confidence, from "
        f"{promise.held_out} held-out {_counted(unit)}. {left}{limit}"
    )


def given_for(promise: Promise, names: Sequence[str], nouns: str) -> str:
    """For how many classes or tags a promise of each is given, and which are left out."""
    missing = [name for name, one in zip(names, promise.per_class, strict=True) if not one.held]
    there = len(names) - len(missing)
    out = f", not for {some(missing)}" if missing else ""
    return f" It can be given for {there} of {len(names)} {nouns}{out}."


def refusal_of(
    promise: Promise, total: int, unit: str, asked: Asked, option: str | None = "--calibration"
) -> str:
    """Why a promise cannot be given, and what it would take.

    Args:
        promise: one that is not held.
        total: of what is to be labelled.
        unit: of what a promise is made: labels, boxes, pixels or tags.
        asked: what for.
        option: by which people say how many are held out; None where they give them.
    """
    wanted = f"{in_percent(asked.target)} at {in_percent(asked.confidence)} confidence"
    counted = _counted(unit)
    if total == 0:
        return f"Nothing is unlabelled, so that there is nothing to promise ({wanted})."
    begin = f"A promise of {wanted} cannot be given, and nothing is accepted: "
    number = promise.needed
    there = max((one.held_out for one in promise.per_class), default=promise.held_out)
    if number is not None and there < number:
        by_class = asked.by_class and unit != "tags"
        each, most = (" of a class", " of one at most") if by_class else ("", "")
        hold = "Label more of them at random"
        if option is not None:
            hold = f"Label more and hold them out ({option} {number} or more)"
        return (
            f"{begin}it needs at least {number} held-out {counted}{each}; there are "
            f"{there}{most}. {hold}, or ask for less."
        )
    bound = (
        ""
        if promise.bound is None
        else (f" Of all {unit}, {in_percent(promise.bound)} or more are right.")
    )
    more = "A better model is needed, or a lower promise."
    if promise.estimate is not None and promise.estimate <= promise.held_out:
        more = f"A few more held-out {counted} may do for some."
    elif promise.estimate is not None:
        by = "" if option is None else f" ({option} {promise.estimate})"
        more = (
            f"At the share of wrong {unit} that was seen, about {promise.estimate} held-out "
            f"{counted} would do for some{by}."
        )
    return (
        f"{begin}the {promise.held_out} held-out {counted} do not show it at any threshold."
        f"{bound} {more}"
    )


def _counted(unit: str) -> str:
    """What is held out of a unit."""
    return {"labels": "labels", "tags": "items"}.get(unit, "pictures")


def in_percent(share: float) -> str:
    """A share in words."""
    return f"{100 * share:.4g} %"
