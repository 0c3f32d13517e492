"""Promises for the scores of any model, read from a table: of classes, or of tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.data.readers.score_tables import (
    ScoreTable,
    check_probabilities,
    read_classes,
    read_scores,
    read_tags,
)
from leaven.errors import ConfigError, DataError
from leaven.job.promise_summary import (
    TARGETS,
    Asked,
    about_shift,
    given_for,
    in_percent,
    refusal_of,
    summary_of,
)
from leaven.job.promised_tables import ClassTable, TagTable
from leaven.quality.accuracy import shift_between, shift_of
from leaven.select.guarantee import Promise, promise_each_class, promise_items
from leaven.select.guarantee_pictures import promise_each_tag, promise_tags


@dataclass(frozen=True)
class Wanted:
    """What is to be promised, from what.

    Attributes:
        scores: CSV or Parquet: a column ``file`` or ``item``, and one for each class or tag.
        labels: CSV or Parquet: ``file`` or ``item``, and ``label`` or ``tags``, of held-out items.
        asked: the promise.
        tags: whether an item may have any number of them.
        seed: of the order of the held-out items.
    """

    scores: Path
    labels: Path
    asked: Asked
    tags: bool = False
    seed: int = 0


def promise_scores(wanted: Wanted) -> ClassTable | TagTable:
    """The promise that labelled items allow for the others, and which of these it accepts.

    It holds when the labelled items are like the others, as if drawn from them at random, and the
    model has not learnt from either: see ``leaven.select.guarantee``.

    Raises:
        LeavenError: something that the user can put right; says what to do.
    """
    for option, share in (
        ("--promise", wanted.asked.target),
        ("--confidence", wanted.asked.confidence),
    ):
        if not 0 < share < 1:
            raise ConfigError(
                f"{option} is {share:g}.", "a number between 0 and 1, such as 0.95", "change it"
            )
    scores = read_scores(wanted.scores)
    if wanted.tags:
        known, truth = read_tags(wanted.labels, scores)
        _check_both(known, wanted)
        return promised_tags(scores, known, truth, wanted.asked, wanted.seed)
    check_probabilities(scores)
    labels = read_classes(wanted.labels, scores)
    _check_both(labels >= 0, wanted)
    return promised_scores(scores, labels, wanted.asked, wanted.seed)


def promised_scores(scores: ScoreTable, labels: Tensor, asked: Asked, seed: int = 0) -> ClassTable:
    """What can be promised of the likeliest class of each item that has no label.

    Args:
        scores: of n items, in K classes.
        labels: (n,) int64, -1 where an item has none; those with one are the evidence.
        asked: what for.
        seed: of the order of the evidence.
    """
    held, rest = _division(labels >= 0, seed)
    confidence, said = scores.values.max(1)
    mine, theirs = confidence[held], confidence[rest]
    wrong = said[held] != labels[held]

    def overall(target: float) -> Promise:
        return promise_items(mine, wrong, theirs, target=target, confidence=asked.confidence)

    if asked.by_class:
        each = promise_each_class(
            mine,
            said[held],
            wrong,
            theirs,
            said[rest],
            len(scores.classes),
            target=asked.target,
            confidence=asked.confidence,
        )
        promise = each
    else:
        each, promise = None, overall(asked.target)
    summary = summary_of(
        promise,
        each,
        asked,
        scores.classes,
        len(rest),
        "labels",
        overall,
        lambda _: None,
        shift_between(scores.values[held], scores.values[rest]),
    )
    if not promise.held:
        summary["text"] = refusal_of(promise, len(rest), "labels", asked, option=None)
    return ClassTable(
        items=[scores.items[place] for place in rest.tolist()],
        classes=scores.classes,
        said=said[rest],
        scores=theirs,
        accepted=promise.keeps(theirs, said[rest]),
        summary=_without_truth(summary),
    )


def promised_tags(
    scores: ScoreTable, known: Tensor, truth: Tensor, asked: Asked, seed: int = 0
) -> TagTable:
    """What can be promised of the tags of the items that nobody looked at.

    Args:
        scores: of n items, in K tags.
        known: (n,) bool, whether somebody looked at an item; these are the evidence.
        truth: (n, K) bool, the tags of those.
        asked: what for.
        seed: of the order of the evidence.
    """
    held, rest = _division(known, seed)
    mine, right, theirs = scores.values[held], truth[held], scores.values[rest]
    tags = torch.arange(len(scores.classes)).expand(len(rest), -1)
    items = torch.arange(len(rest))[:, None].expand(-1, len(scores.classes))

    def of(target: float, find: Callable[..., Promise] = promise_tags) -> tuple[Promise, Tensor]:
        promise = find(mine, right, theirs, target=target, confidence=asked.confidence)
        return promise, promise.keeps(theirs, tags, items)

    promise, given = of(asked.target, promise_each_tag if asked.by_class else promise_tags)
    return TagTable(
        items=[scores.items[place] for place in rest.tolist()],
        tags=scores.classes,
        given=given,
        summary=_tag_summary(promise, given, asked, scores.classes, of)
        | about_shift(promise, shift_of(mine, theirs)),
    )


def _tag_summary(
    promise: Promise,
    given: Tensor,
    asked: Asked,
    tags: tuple[str, ...],
    of: Callable[[float], tuple[Promise, Tensor]],
) -> dict[str, Any]:
    """Like that of classes; what is kept is counted in tags, what needs a person in items."""
    total, some = len(given), int(given.any(1).sum())
    # Of all tags hardly any is true, and nobody would give them all.
    promise = replace(promise, bound=None)
    table = []
    for target in TARGETS:
        one, kept = of(target)
        row = {"target": target, "held": one.held, "threshold": one.threshold, "kept": one.kept}
        table.append(row | {"items": int(kept.any(1).sum())})
    mine = promise.as_dict()
    per_class = mine.pop("per_class")
    for name in ("bound", "kept_share"):
        mine.pop(name)
    mine["most_per_item"] = mine.pop("most_per_picture")
    if promise.held:
        text = _tag_text(promise, some, total, asked, tags)
    else:
        text = refusal_of(promise, total, "tags", asked, option=None)
    return {
        **mine,
        "unit": "tags",
        "by_class": asked.by_class,
        "labels": total,
        "accepted": some,
        "needs_person": total - some,
        "per_class": [
            {"class": name, **{key: one[key] for key in one if key != "per_class"}}
            for name, one in zip(tags, per_class, strict=False)
        ],
        "table": table,
        "text": text,
    }


def _tag_text(promise: Promise, some: int, total: int, asked: Asked, tags: Sequence[str]) -> str:
    """A promise of tags that is held, in words."""
    each, limit = "", ""
    if asked.by_class:
        each = " of each tag"
        limit = given_for(promise, tags, "tags")
    if promise.most_per_picture is not None:
        limit = f" An item gets {promise.most_per_picture} of them at most, its surest."
    needs = "needs" if total - some == 1 else "need"
    left = "Every item has one."
    if some < total:
        left = f"The other {total - some} items have none and {needs} a person."
    return (
        f"{promise.kept} tags are given to {some} of {total} items. At least "
        f"{in_percent(asked.target)} of them{each} are right, with {in_percent(asked.confidence)} "
        f"confidence, from {promise.held_out} held-out items. {left}{limit} Nothing is promised "
        "about tags that are missing."
    )


def _division(known: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The places of the evidence in random order, and those of the other items in theirs."""
    held = known.nonzero().flatten()
    order = torch.randperm(len(held), generator=torch.Generator().manual_seed(seed))
    return held[order], (~known).nonzero().flatten()


def _without_truth(summary: dict[str, Any]) -> dict[str, Any]:
    """Nothing is known of the items that are to be labelled."""
    table = [{k: v for k, v in row.items() if k != "accuracy"} for row in summary["table"]]
    return {key: value for key, value in summary.items() if key != "accuracy"} | {"table": table}


def _check_both(known: Tensor, wanted: Wanted) -> None:
    """Refuses a table without evidence, or without anything to promise."""
    if not bool(known.any()):
        raise DataError(
            f"No item of {wanted.scores} has a label in {wanted.labels}.",
            "labels of some items, drawn at random, that the model has not learnt from",
            "label some of them.",
        )
    if bool(known.all()):
        raise DataError(
            f"Every item of {wanted.scores} has a label in {wanted.labels}.",
            "also items without a label, of which something is to be promised",
            "add the scores of the items that are to be labelled.",
        )
