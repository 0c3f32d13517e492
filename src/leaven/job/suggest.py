"""``leaven.job.suggest``: what a person should label next, from a finished run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leaven.data.annotated_listing import TASKS
from leaven.data.files import FilePixels, PictureError
from leaven.data.sources import Sources
from leaven.draws import Draws
from leaven.errors import DataError, RunError
from leaven.job.config import RunConfig
from leaven.job.labelling import check_labels_pictures
from leaven.job.looks import Looks, Progress, look
from leaven.job.pictures import run_pictures
from leaven.job.suggest_pool import Beliefs, read_beliefs
from leaven.labels import CorrectionLog, LabelStore
from leaven.models import load_model
from leaven.plain import counted
from leaven.quality.acquisition import (
    AUTO,
    STRATEGIES,
    Pool,
    choose,
    choose_auto,
    find_strategy,
)
from leaven.train.settings import find_processes

TARGET = 0.95
"""The accuracy that is reckoned with where the run promises none."""

DENSE_CLASSES = 5
"""Pictures of pixels or boxes hold many labels each: ``auto`` leaves typical ones behind from twice
so many labelled pictures on, whatever the number of classes."""


@dataclass(frozen=True)
class Suggestion:
    """One item to label.

    Attributes:
        item: its stable name.
        why: in words.
        score: its worth to the strategy.
        believed: what the model believes, in words.
        confidence: how sure the model is of that, or None.
    """

    item: str
    why: str
    score: float
    believed: str
    confidence: float | None


@dataclass(frozen=True)
class Suggestions:
    """What to label next, in order.

    Attributes:
        run: the run folder.
        strategy: by which it was chosen.
        about: what the strategy looks for, in words; empty where nothing was chosen.
        items: the suggestions.
        pool: items that could have been chosen.
        labelled: items that a person labelled, before the run or since.
        corrected: items of these, or skipped, since the run.
        notes: what people should know.
    """

    run: Path
    strategy: str
    about: str
    items: list[Suggestion]
    pool: int
    labelled: int
    corrected: int
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "run": str(self.run)}


def suggest(
    run: str | Path,
    count: int = 50,
    strategy: str = AUTO,
    *,
    against: str | Path | None = None,
    target: float | None = None,
    data: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Suggestions:
    """What a person should label next, from a finished run on any task.

    Items that a person has labelled, or has since corrected or skipped (``corrections.jsonl``), are
    left out. The model is asked for features of the others, and of the labelled ones where the
    strategy compares with them; a batch of pictures at a time is in memory.

    Args:
        run: the run folder.
        count: how many, 1 or more; all there are where those are fewer.
        strategy: a name of ``STRATEGIES``, or ``"auto"``.
        against: another run, for the strategy ``disagreement``; the round before the last when None.
        target: the accuracy of the promise, for ``promise``; that of the run, or 0.95, when None.
        data: where the pictures are now, if they were moved.
        seed: of the strategies that draw.
        device: to compute on.
        progress: called with the pictures that were looked at and all.

    Raises:
        RunError: there is no finished run, or its pictures are gone.
        ConfigError: no such strategy, or it does not fit the run.
        DataError: a picture cannot be read, or the other run has other classes.
    """
    run = Path(run)
    if count < 1:
        raise DataError(f"{count} items are wanted.", "1 or more", "give -n a larger number")
    config = _finished(run)
    wanted = None if strategy == AUTO else find_strategy(strategy)
    beliefs = read_beliefs(run, config.task)
    done, skipped = _said(run, beliefs)
    labelled = beliefs.labelled | done
    seen = _Seen(
        (~(labelled | skipped)).nonzero().squeeze(1), labelled.nonzero().squeeze(1), notes=[]
    )
    if len(seen.rows) and (wanted is None or wanted.asks_pictures or beliefs.needs_looks):
        seen = _look(run, config, beliefs, seen, data, device, progress)
    target = target or config.promise or TARGET
    index, score = seen.rows, torch.zeros(0)
    if len(seen.rows):
        pool = _pool(beliefs, seen, done, target, config.task in TASKS)
        if strategy == "disagreement":
            pool.value.update(_second_opinion(run, config, beliefs, seen.rows, against))
        if wanted is None:
            strategy, (index, score) = choose_auto(pool, count, Draws(seed))
        else:
            index, score = choose(pool, count, strategy, draws=Draws(seed))
    return Suggestions(
        run=run,
        strategy=strategy,
        about="" if strategy == AUTO else STRATEGIES[strategy].about,
        items=_items(beliefs, seen, index, score, strategy, target),
        pool=len(seen.rows),
        labelled=int(labelled.sum()),
        corrected=int((done | skipped).sum()),
        notes=seen.notes + _notes(len(seen.rows), count, strategy, score),
    )


@dataclass(frozen=True)
class _Seen:
    """The items that may be suggested, and what the model makes of them.

    Attributes:
        rows: (n,) int64, these items.
        labelled: (m,) int64, those that a person labelled.
        looks: at ``rows``, or None.
        near: (m, D) features of ``labelled``, or None.
        notes: for people.
    """

    rows: Tensor
    labelled: Tensor
    notes: list[str]
    looks: Looks | None = None
    near: Tensor | None = None


def _pool(beliefs: Beliefs, seen: _Seen, done: Tensor, target: float, dense: bool) -> Pool:
    return Pool(
        beliefs.values(seen.rows, seen.looks, target),
        probs=beliefs.probs(seen.rows, seen.looks),
        features=None if seen.looks is None else seen.looks.features,
        covered=seen.near,
        told=done[seen.labelled],
        labelled=len(seen.labelled),
        classes=DENSE_CLASSES if dense else len(beliefs.classes),
        target=target,
    )


def _items(
    beliefs: Beliefs, seen: _Seen, index: Tensor, score: Tensor, strategy: str, target: float
) -> list[Suggestion]:
    why = _words(strategy, target)
    items = []
    for at, worth in zip(index.tolist(), score.tolist()):
        row = int(seen.rows[at])
        items.append(
            Suggestion(
                item=beliefs.names[row],
                why=why(worth, beliefs.doubt(row, at, seen.looks)),
                score=worth,
                believed=beliefs.believed(row, at, seen.looks),
                confidence=beliefs.confidence(row),
            )
        )
    return items


def _finished(run: Path) -> RunConfig:
    path = run / "summary.json"
    if not path.exists():
        raise RunError(
            f"There is no finished run in {run}.",
            "a run folder with summary.json",
            f"finish it with `leaven run --resume --out {run}`, or check the path",
        )
    config = RunConfig.read(run / "config.yaml").settled()
    try:
        task = json.loads(path.read_text(encoding="utf-8")).get("task")
    except (ValueError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged: {error}", "JSON", "run again into a new --out"
        ) from None
    check_labels_pictures(run, task or config.task)
    return config if task in (None, config.task) else config.model_copy(update={"task": task})


def _said(run: Path, beliefs: Beliefs) -> tuple[Tensor, Tensor]:
    """(n,) bool each: the items that a person corrected since, and those skipped."""
    log = CorrectionLog(run, beliefs.classes)
    place = {name: row for row, name in enumerate(beliefs.names)}
    done = torch.zeros(len(place), dtype=torch.bool)
    done[[place[name] for name in log.standing() if name in place]] = True
    undone = {correction.undoes for correction in log.read()}
    skips = (c for c in log.read() if c.action == "skip" and c.id not in undone)
    skipped = torch.zeros(len(place), dtype=torch.bool)
    skipped[[place[c.item] for c in skips if c.item in place]] = True
    return done, skipped & ~done


def _look(
    run: Path,
    config: RunConfig,
    beliefs: Beliefs,
    seen: _Seen,
    data: str | Path | None,
    device: str,
    progress: Progress | None,
) -> _Seen:
    """Looks at the pictures, in the shape that the model was trained on. Items whose picture is
    gone are left out.

    Raises:
        RunError: all are gone, or one cannot be read.
    """
    try:
        pictures = run_pictures(run, beliefs.names, None if data is None else Path(data))
    except RunError as error:
        also = "; for classes and boxes --strategy margin needs no pictures"
        raise RunError(error.found, error.expected, error.do + also) from error
    place = torch.tensor(pictures.rows)
    rows, labelled = (some[place[some] >= 0] for some in (seen.rows, seen.labelled))
    gone = len(seen.rows) - len(rows)
    notes = (
        [
            f"{counted(gone, 'picture')} {'is gone and was' if gone == 1 else 'are gone and were'} left out."
        ]
        if gone
        else []
    )
    both = torch.cat([rows, labelled])
    model = load_model(run / "model", nn.Module)
    _, where = find_processes(device)
    spec: Any = model.spec
    names = [beliefs.names[row] for row in both.tolist()]
    sources = Sources(pictures.sources, place[both])
    pixels = FilePixels(sources, names, tuple(spec.shape), whole=config.task in TASKS)
    try:
        looks = look(model.to(where), pixels, progress)
    except PictureError as error:
        raise RunError(
            error.found,
            "the pictures that the run was made with, whole",
            "put it back as it was, or say where a whole copy of the data is with --data PATH",
        ) from error
    first = torch.arange(len(rows))
    return _Seen(rows, labelled, notes, looks.rows(first), looks.features[len(rows) :])


def _second_opinion(
    run: Path, config: RunConfig, beliefs: Beliefs, rows: Tensor, against: str | Path | None
) -> dict[str, Tensor]:
    """``disagreement`` of ``rows``, where there is something to compare with."""
    if against is not None:
        other = Path(against)
        task = _finished(other).task
        if task != config.task:
            raise DataError(
                f"{other} is a run on {task}, {run} one on {config.task}.",
                "two runs on one task",
                "compare with another run",
            )
        second = read_beliefs(other, task)
    else:
        rounds = LabelStore(run / "labels").rounds()
        if len(rounds) < 2:
            return {}
        second = read_beliefs(run, config.task, rounds[-2])
    place = {name: row for row, name in enumerate(second.names)}
    theirs = torch.tensor([place.get(beliefs.names[row], -1) for row in rows.tolist()])
    if len(rows) and not bool((theirs >= 0).any()):
        raise DataError(
            f"{against} knows none of the {len(rows)} items of {run} that could be labelled.",
            "a run on the same pictures",
            "compare with another run",
        )
    return {"disagreement": beliefs.against(second, rows, theirs)}


def _words(strategy: str, target: float) -> Callable[[float, str], str]:
    """From score and doubt to why an item was chosen."""

    def of_promise(score: float, doubt: str) -> str:
        return f"its label lets about {score:.1f} more be accepted at {100 * target:g} %; {doubt}"

    said: dict[str, Callable[[float, str], str]] = {
        "typical": lambda score, doubt: (
            f"typical of a group of {100 * score:.1f} % of the items; {doubt}"
        ),
        "uncertain-diverse": lambda score, doubt: f"unsure, like many, unlike the rest: {doubt}",
        "badge": lambda score, doubt: f"would teach the model something new: {doubt}",
        "k-center": lambda score, doubt: f"far ({score:.3g}) from all that is labelled; {doubt}",
        "disagreement": lambda score, doubt: f"two opinions differ by {100 * score:.0f} %; {doubt}",
        "promise": of_promise,
        "random": lambda score, doubt: f"at random; {doubt}",
    }
    return said.get(strategy, lambda score, doubt: f"unsure: {doubt}")


def _notes(there: int, count: int, strategy: str, score: Tensor) -> list[str]:
    if there == 0:
        return [
            "Every item has been labelled or looked at by a person; nothing is left to suggest."
        ]
    notes = []
    if there < count:
        notes.append(f"{count} are wanted, and {there} are left to label.")
    if strategy == "promise" and not bool((score > 0).any()):
        notes.append(
            "By the model's own confidence all labels can be accepted at that accuracy, so that no "
            "label adds one; try a higher --target, or another strategy."
        )
    if strategy == "disagreement" and not bool((score > 0).any()):
        notes.append("The two opinions are the same everywhere.")
    return notes
