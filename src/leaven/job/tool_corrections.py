"""Corrections that were made in Label Studio or CVAT."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leaven.data.readers.drawn import DrawnPicture, Unusable
from leaven.data.readers.drawn_files import drawn_files
from leaven.data.readers.drawn_names import Names
from leaven.errors import DataError, RunError
from leaven.job.config import RunConfig
from leaven.job.labelling import check_labels_pictures
from leaven.job.tool_rounds import RoundOfLabels, Said, round_of_labels
from leaven.labels import LabelStore
from leaven.labels.corrections import Correction, CorrectionLog

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass
class LeftOut:
    """What could not be used for one reason: how often, and the first one in words."""

    count: int = 0
    first: str = ""


@dataclass
class Account:
    """What an import read and what became of it.

    Attributes:
        by: the tool.
        pictures: how many the files have.
        accepted: pictures of which the round was right.
        relabelled: pictures of which something else is right.
        skipped: pictures that people passed over.
        untouched: pictures of which nobody said anything yet.
        unchanged: pictures that say what the round says and were not taken, because unchanged ones
            were not wanted.
        known: pictures of which the same was recorded before.
        older: pictures of which something later stands that was said elsewhere.
        left_out: pictures that could not be used, by reason.
        passed: things that were drawn and are neither boxes nor masks, by kind.
        notes: what was done to things that were drawn, how often.
        recorded: what was written to the log; what would be, in a rehearsal.
    """

    by: str
    pictures: int = 0
    accepted: int = 0
    relabelled: int = 0
    skipped: int = 0
    untouched: int = 0
    unchanged: int = 0
    known: int = 0
    older: int = 0
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    passed: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    recorded: int = 0

    def leave_out(self, reason: str, first: str) -> None:
        """Counts a picture that cannot be used."""
        self.left_out.setdefault(reason, LeftOut(first=first)).count += 1

    @property
    def unusable(self) -> int:
        """How many pictures could not be used."""
        return sum(one.count for one in self.left_out.values())


def import_corrections(
    run: Path,
    path: Path,
    *,
    record: bool = True,
    changed_only: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Account:
    """Records what people said in a labelling tool in the log of a run.

    A picture that says what its round of labels says is accepted, one that says something else is
    relabelled, one that was passed over is skipped. What was recorded before is not recorded
    again, and what stands from elsewhere and is later than what the tool tells is kept. A picture
    that cannot be used is left out whole, and counted.

    Args:
        run: the run folder.
        path: a file of the tool, or a folder of them.
        record: write to the log; else only look.
        changed_only: do not take unchanged pictures for looked at.
        progress: called with the pictures done and in all.

    Raises:
        DataError: the files cannot be read, or none of their pictures is of the run.
        RunError: there is no run with labels, or its log cannot be written.
    """
    rounds = _Rounds(run)
    files = drawn_files(path)
    account = Account(by=files[0].by)
    pictures = [picture for file in files for picture in file.read()[0]]
    account.pictures = len(pictures)
    chosen = _chosen(pictures, Names(rounds.names), account)
    if pictures and not chosen:
        raise _nothing_fits(account, path, run)
    log = CorrectionLog(run)
    wanted = []
    tokens, standing = {one.token for one in log.read()}, log.standing()
    for done, (item, picture) in enumerate(chosen.items(), 1):
        try:
            said = _said(picture, item, rounds, account.by)
        except Unusable as problem:
            account.leave_out(problem.reason, _where(picture, problem))
            continue
        finally:
            if progress is not None:
                progress(done, len(chosen))
        account.passed.update(picture.passed)
        if said is None:
            account.untouched += 1
        elif said["action"] == "accept" and changed_only:
            account.unchanged += 1
        elif said["token"] in tokens or _stands(said, standing.get(item)):
            account.known += 1
        elif _is_older(picture, standing.get(item), account.by):
            account.older += 1
        else:
            account.notes.update(said.pop("notes"))
            wanted.append(said)
    for said in wanted:
        counter = {"accept": "accepted", "relabel": "relabelled", "skip": "skipped"}[said["action"]]
        setattr(account, counter, getattr(account, counter) + 1)
    account.recorded = len(wanted)
    if record and wanted:
        log.append_all(wanted)
    return account


class _Rounds:
    """The rounds of labels of a run, read when they are wanted."""

    def __init__(self, run: Path) -> None:
        if not (run / "config.yaml").is_file():
            raise RunError(
                f"There is no run in {run}.", "a run folder with config.yaml", "check the path"
            )
        self._task = RunConfig.read(run / "config.yaml").task
        check_labels_pictures(run, self._task)
        self._store = LabelStore(run / "labels")
        self._read: dict[int, tuple[RoundOfLabels, dict[str, int]]] = {}
        self.numbers = self._store.rounds()
        if not self.numbers:
            raise RunError(
                f"There are no labels in {run}.",
                "a run that has labelled its pictures",
                f"finish it with `leaven run --resume --out {run}`",
            )

    @property
    def names(self) -> Sequence[str]:
        """The pictures of the latest round."""
        return self._of(self.numbers[-1])[0].names

    def number(self, picture: DrawnPicture) -> int:
        """The round that was shown: the latest where the file does not tell."""
        known = picture.round is not None and picture.round in self.numbers
        return picture.round if known and picture.round is not None else self.numbers[-1]

    def said(self, picture: DrawnPicture, item: str) -> Said | None:
        """What the picture says, against the round that was shown; None where that is nothing."""
        labels, place = self._of(self.number(picture))
        if item not in place:
            raise Unusable("a picture that its round of labels does not have", item)
        return labels.said(picture, place[item])

    def _of(self, number: int) -> tuple[RoundOfLabels, dict[str, int]]:
        if number not in self._read:
            labels = round_of_labels(self._store, self._task, number)
            self._read[number] = labels, {name: row for row, name in enumerate(labels.names)}
        return self._read[number]


def _chosen(
    pictures: Sequence[DrawnPicture], names: Names, account: Account
) -> dict[str, DrawnPicture]:
    """The picture that speaks for each item: what was said last, before what says nothing."""
    chosen: dict[str, DrawnPicture] = {}
    several: set[str] = set()
    for picture in pictures:
        try:
            item = names.find(picture.names, picture.own)
        except Unusable as problem:
            account.leave_out(problem.reason, _where(picture, problem))
            continue
        other = chosen.get(item)
        if picture.others or other is not None:
            several.add(item)
        if other is None or _rank(picture) >= _rank(other):
            chosen[item] = picture
    if several:
        account.notes["pictures with several annotations, of which one was taken"] = len(several)
    return chosen


def _rank(picture: DrawnPicture) -> tuple[int, datetime]:
    sure = {"nothing": 0, "skipped": 1, "said": 2}[picture.state]
    return sure, picture.changed or _LONG_AGO


def _said(picture: DrawnPicture, item: str, rounds: _Rounds, by: str) -> dict[str, Any] | None:
    """The correction, with notes; None where nobody said anything."""
    if picture.problem is not None:
        raise picture.problem
    if picture.state == "nothing":
        return None
    number = rounds.number(picture)
    content = f"{item}\n{number}\n{picture.key}".encode("utf-8", "surrogatepass")
    common = {
        "item": item, "round": number, "by": by,
        "token": f"{by}:{hashlib.sha256(content).hexdigest()[:40]}",
    }  # fmt: skip
    if picture.state == "skipped":
        return {**common, "action": "skip", "notes": Counter()}
    said = rounds.said(picture, item)
    if said is None:
        return None
    return {
        **common, "action": said.action, "label": said.label, "boxes": said.boxes,
        "notes": said.notes,
    }  # fmt: skip


def _stands(said: Mapping[str, Any], standing: Correction | None) -> bool:
    """Whether the same tool said the same of the picture, and it stands."""
    if standing is None:
        return False
    fields = ("action", "label", "boxes", "by", "round")
    before = standing.as_dict()
    return all(
        json.dumps(before[name], sort_keys=True) == json.dumps(said.get(name), sort_keys=True)
        for name in fields
    )


def _is_older(picture: DrawnPicture, standing: Correction | None, by: str) -> bool:
    if standing is None or picture.changed is None or standing.by == by:
        return False
    return datetime.fromisoformat(standing.time) > picture.changed


def _where(picture: DrawnPicture, problem: Unusable) -> str:
    name = picture.names[0] if picture.names else "a picture without a name"
    detail = f": {problem.detail}" if problem.detail and problem.detail != name else ""
    return f"{name} ({picture.where}){detail}"


def _nothing_fits(account: Account, path: Path, run: Path) -> DataError:
    first = next(iter(account.left_out.values())).first
    return DataError(
        f"None of the {account.pictures} pictures of {path} is of the run {run}; the first is "
        f"{first}.",
        "pictures with the names that `leaven export` gave them",
        "check that it is the export of the right project.",
    )
