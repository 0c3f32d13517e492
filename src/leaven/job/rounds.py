"""Rounds of a run: each begins with what people said of the labels of the one before.

``round.json`` says which round is under way or done. A round is begun in steps that a kill may
part anywhere: what is finished is kept under ``history/NNN``, the checkpoints go, and then
``round.json`` is put in place, all at once; from there on the round is gone on with.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leaven.errors import ConfigError, RunError
from leaven.job.corrections import Evidence, Said, gathered
from leaven.job.folder import write_text
from leaven.labels import CorrectionLog, LabelStore
from leaven.report.dense_content import main_figure

log = logging.getLogger(__name__)

HISTORY, STATE, MODEL, SUMMARY = "history", "round.json", "model", "summary.json"

BASELINE = "baseline"
"""The folder of the labels alone in a run folder."""

_KEPT = (SUMMARY, "metrics.jsonl", "test.parquet", "report.html", "model", "events")


@dataclass(frozen=True)
class Round:
    """A round that begins with corrections.

    Attributes:
        number: 1, 2, ...; the run as it was begun is round 0.
        until: the id of the last correction that it uses; later ones wait for the next round.
        first: the number of its first round of labels, in the run folder ("") and that of the
            baseline.
    """

    number: int
    until: int
    first: dict[str, int]

    def weights(self, folder: Path, under: str = "") -> Path:
        """The folder of the model that the round before ended with."""
        return folder / HISTORY / f"{self.number - 1:03d}" / under / MODEL


@dataclass(frozen=True)
class Start:
    """What one stage of such a round starts from.

    Attributes:
        evidence: what people said.
        weights: the folder of the model that the round before ended with.
        first: the number of the first round of labels.
    """

    evidence: Evidence[Any]
    weights: Path
    first: int

    @classmethod
    def of(
        cls, begun: Round | None, evidence: Evidence[Any] | None, folder: Path, under: str = ""
    ) -> Start | None:
        """That of the method, or of what is ``under`` the run folder; None in round 0."""
        if begun is None or evidence is None:
            return None
        return cls(evidence, begun.weights(folder, under), begun.first.get(under, 0))


@dataclass(frozen=True)
class Work:
    """What is left to do in a run: the run as it was begun (``begun`` is None), a round that was
    begun, or a ``new`` one."""

    begun: Round | None
    new: bool = False


def to_do(folder: Path, with_corrections: bool) -> Work | None:
    """What is left to do, and says so; None where nothing is.

    Raises:
        RunError: ``round.json`` or the log is damaged.
    """
    begun = round_of(folder)
    if not is_finished(folder, begun):
        if with_corrections and begun is None:
            log.warning(
                "%s is not finished: that comes first, and the corrections wait. Give the same "
                "command again for a round with them.",
                folder,
            )
        elif begun is not None:
            log.info("going on with round %d and the corrections it began with", begun.number)
        return Work(begun)
    following = next_round(folder, begun)
    if following is None:
        also = "" if begun is None else f" that round {begun.number} has not used"
        if with_corrections:
            log.warning(
                "%s is finished, and its corrections.jsonl holds nothing%s; nothing is done. "
                "Look at its labels with: leaven review %s",
                folder,
                also,
                folder,
            )
        else:
            log.info("%s is finished; nothing is left to do", folder)
        return None
    new, items = following
    if not with_corrections:
        log.info(
            "%s is finished; %d corrected items wait for --resume --with-corrections", folder, items
        )
        return None
    log.info("round %d begins with what was said of %d items since", new.number, items)
    return Work(new, new=True)


def round_of(folder: Path) -> Round | None:
    """The round of a run that is under way or done; None in the run as it was begun.

    Raises:
        RunError: ``round.json`` is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        first = {str(name): int(value) for name, value in kept["first"].items()}
        found = Round(int(kept["number"]), int(kept["until"]), first)
        if found.number < 1 or "" not in first:
            raise ValueError("no number of a round")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged: {error}.",
            "what leaven wrote when the round began",
            f"put it back from a copy; the round before is whole under {folder / HISTORY}",
        ) from None


def is_finished(folder: Path, begun: Round | None) -> bool:
    """Whether ``summary.json`` is of the round that was ``begun`` last.

    A summary that cannot be read counts as finished, so that it is said and not written over.
    """
    path = folder / SUMMARY
    if not path.exists():
        return False
    try:
        about = json.loads(path.read_text(encoding="utf-8")).get("corrections") or {}
        done = int(about.get("rounds", 0))
    except (OSError, ValueError, AttributeError, TypeError):
        return True
    return done == (0 if begun is None else begun.number)


def next_round(folder: Path, begun: Round | None) -> tuple[Round, int] | None:
    """The round after a finished one, and of how many items something new is said; None where
    nothing is.

    Raises:
        RunError: the log is damaged.
    """
    corrections = CorrectionLog(folder).read()
    used = 0 if begun is None else begun.until
    before, now = gathered(corrections[:used]), gathered(corrections)
    new = sum(before.get(item) != now.get(item) for item in before.keys() | now.keys())
    if new == 0:
        return None
    first = {
        under: max(LabelStore(folder / under / "labels").rounds(), default=-1) + 1
        for under in ("", BASELINE)
    }
    number = 1 if begun is None else begun.number + 1
    return Round(number, corrections[-1].id, first), new


def said_in(folder: Path, begun: Round) -> dict[str, Said]:
    """What stands by item in a round.

    Raises:
        RunError: the log is damaged, or lacks what the round began with.
    """
    corrections = CorrectionLog(folder).read(begun.until)
    if len(corrections) < begun.until:
        raise RunError(
            f"Round {begun.number} began with {begun.until} corrections, and the log in {folder} "
            f"holds {len(corrections)}.",
            "the log that the round began with; it is only ever added to",
            "put corrections.jsonl back from a copy",
        )
    return gathered(corrections)


def begin(folder: Path, new: Round) -> None:
    """Keeps what is finished under ``history/``, and puts the new round in its place.

    Raises:
        RunError: the disk is full, or the folder cannot be written; the finished run stays then.
    """
    history = folder / HISTORY / f"{new.number - 1:03d}"
    try:
        if not history.exists():
            beside = history.with_name(f".{history.name}.partial")
            shutil.rmtree(beside, ignore_errors=True)
            _keep(folder, beside)
            if (folder / BASELINE).is_dir():
                _keep(folder / BASELINE, beside / BASELINE)
            beside.replace(history)
        for under in ("", BASELINE):
            # Of a finished run; the new round must not go on from them.
            shutil.rmtree(folder / under / "checkpoints", ignore_errors=True)
            shutil.rmtree(folder / under / "events", ignore_errors=True)
        write_text(folder / STATE, json.dumps(asdict(new), indent=2) + "\n")
    except OSError as error:
        raise RunError(
            f"The next round cannot begin in {folder}: {error.strerror or error}.",
            "a folder that can be written, with space for another copy of the model",
            "free space or change permissions; the finished round is whole",
        ) from error


def about_corrections(
    folder: Path, begun: Round | None, evidence: Evidence[Any] | None, summary: dict[str, Any]
) -> dict[str, Any] | None:
    """What ``summary.json`` says of corrections: how many, and each round in figures.

    Args:
        summary: of the round that is ending, without this.
    """
    if begun is None or evidence is None:
        return None
    path = folder / HISTORY / f"{begun.number - 1:03d}" / SUMMARY
    before = json.loads(path.read_text(encoding="utf-8"))
    earlier = before.get("corrections")
    history = [_figures(before, 0, 0)] if earlier is None else earlier["history"]
    items = sum(evidence.counts.values())
    return {
        "items": items,
        "rounds": begun.number,
        "until": begun.until,
        "accepted": evidence.counts["accept"],
        "relabelled": evidence.counts["relabel"],
        "rejected": evidence.counts["reject"],
        "history": [*history, _figures(summary, begun.number, items)],
    }


def _figures(summary: dict[str, Any], number: int, items: int) -> dict[str, Any]:
    """A round in a few figures."""
    metric, _ = main_figure(summary["task"])
    labels = summary["labels"]
    return {
        "round": number,
        "corrected": items,
        "labelled": summary["data"]["labelled"],
        "metric": metric,
        "figure": summary["metrics"].get(metric),
        "measured_on": summary["measured_on"],
        "accepted_share": labels.get("accepted_share"),
        "label_accuracy": labels.get("accuracy"),
        "estimated_accuracy": labels.get("estimated_accuracy"),
    }


def check_asked(with_corrections: bool, resume: bool) -> None:
    """Whether corrections are asked for where there can be some.

    Raises:
        ConfigError: for a run that is not gone on with.
    """
    if with_corrections and not resume:
        raise ConfigError(
            "--with-corrections is given without --resume.",
            "a finished run whose labels people looked at",
            "leaven run --resume --with-corrections --out RUN",
        )


def _keep(folder: Path, to: Path) -> None:
    """Links or copies of what a finished run is looked up in later."""
    to.mkdir(parents=True, exist_ok=True)
    for name in _KEPT:
        source = folder / name
        if source.is_dir():
            shutil.copytree(source, to / name, copy_function=_linked)
        elif source.is_file():
            _linked(source, to / name)


def _linked(source: str | Path, to: str | Path) -> None:
    """A second name of the file where files are put in place whole; a copy of what is written on."""
    try:
        if Path(source).suffix in (".safetensors", ".parquet"):
            os.link(source, to)
            return
    except OSError:
        pass
    shutil.copy2(source, to)
