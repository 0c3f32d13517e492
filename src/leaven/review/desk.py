"""What the page works on: the items of a run, their pictures, and what is said of them."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from leaven.errors import DataError, LeavenError, RunError
from leaven.job.pictures import RunPictures, run_pictures
from leaven.labels.corrections import FILE, Correction, CorrectionLog
from leaven.plain import counted
from leaven.report.palette import palette
from leaven.review.items import Index, Status, last_round, open_index
from leaven.review.lists import Lists, Wanted
from leaven.review.ranking import Ranking
from leaven.review.requests import Said
from leaven.review.shown import detail, given_classes, label_of, size_of, summary
from leaven.review.shown import drawn as drawn_over
from leaven.review.things import accepted_things, said_things, shown_things
from leaven.review.thumbnails import Thumbnails, large, thumbnail
from leaven.review.verdicts import Verdict, Verdicts

MOST_CHANGES = 1000
"""Items that are told at once of what others said."""


class StaleError(LeavenError):
    """The page showed something that has changed since.

    Attributes:
        item: how the item is now; None where the whole page is out of date.
    """

    def __init__(self, found: str, do: str, item: dict[str, Any] | None) -> None:
        super().__init__(found, "what the page shows to be what is there", do)
        self.item = item


class NoSuchItemError(LeavenError):
    """There is no item of that number, or it has no picture."""


class _Opened:
    """One round of the run, and what belongs to it."""

    def __init__(self, run: Path, moved: Path | None, before: _Opened | None) -> None:
        self.newest = last_round(run)
        self.index: Index = open_index(run)
        same = before is not None and before.index.names == self.index.names
        self.pictures: RunPictures = (
            before.pictures if before and same else run_pictures(run, self.index.names, moved)
        )
        self.given = given_classes(self.pictures.given, self.index)
        self.ranking = Ranking(self.index, self.given)
        self.lists = Lists(self.index, self.ranking)
        self.thumbnails = Thumbnails()


class Desk:
    """The items of a run for people to look at and correct.

    Everything may be called from several threads. Corrections go to the log of the run and nowhere
    else; what others append to it meanwhile is seen at the next call.

    Args:
        run: the folder of a run, finished or not.
        moved: where the pictures are now, if they were moved.

    Raises:
        RunError: there is no run, no labels yet, or none of the pictures.
    """

    def __init__(self, run: Path, moved: Path | None = None) -> None:
        self.run, self._moved = run, moved
        self._open = _Opened(run, moved, None)
        self.log = CorrectionLog(run / FILE, self._open.index.classes)
        self._verdicts = Verdicts()
        self._lock = threading.RLock()
        self._caught_up()

    @property
    def index(self) -> Index:
        """Of the round that is shown."""
        return self._open.index

    def about(self) -> dict[str, Any]:
        """The run in general. A newer round of labels is opened here, and only here, so that the
        numbers of items stay what they are for an open page."""
        with self._lock:
            if last_round(self.run) != self._open.newest:
                self._renewed()
            index, verdicts = self._open.index, self._caught_up()
            missing = self._open.pictures.missing
            return {
                "run": self.run.resolve().name,
                "id": hashlib.sha256(str(self.run.resolve()).encode()).hexdigest()[:16],
                "task": index.task,
                "round": index.number,
                "items": len(index),
                "classes": index.classes,
                "colours": [f"#{bytes(row).hex()}" for row in palette(max(1, len(index.classes)))],
                "sorts": [
                    {"name": sort.name, "title": sort.title, "missing": sort.missing}
                    for sort in self._open.ranking.sorts()
                ],
                "counts": self._counts(verdicts),
                "last": verdicts.last_id,
                "notes": [f"{counted(missing, 'picture')} {'is' if missing == 1 else 'are'} gone."]
                if missing
                else [],
            }

    def list_items(self, wanted: Wanted, start: int, count: int) -> dict[str, Any]:
        """A part of a list: how to go on with it, its length, and how many items are corrected now.

        Raises:
            DataError: there is no such class or way to sort.
            StaleError: the list is of another round.
        """
        with self._lock:
            self._check_round(wanted.round)
            now, opened = self._caught_up(), self._open

            def then() -> Verdicts:
                return now if wanted.until >= now.last_id else Verdicts(self.log.read(wanted.until))

            found = opened.lists.items(wanted, then)
            said = opened.lists.status(now)[found] == int(Status.CORRECTED)
            return {
                "cursor": wanted.cursor(),
                "start": start,
                "total": len(found),
                "corrected": int(said.sum()),
                "items": [
                    summary(opened.index, item, now.of(opened.index.names[item]))
                    for item in found[start : start + count].tolist()
                ],
            }

    def newest(self, wanted: Wanted) -> Wanted:
        """The same list as of now."""
        with self._lock:
            now = {"round": self._open.index.number, "until": self._caught_up().last_id}
            return wanted.model_copy(update=now)

    def detail(self, number: int, item: int) -> dict[str, Any]:
        """What the large view shows of an item of the round ``number``.

        Raises:
            NoSuchItemError: there is none of that number.
            StaleError: another round is open.
        """
        with self._lock:
            self._check_round(number)
            verdict = self._caught_up().of(self._name(item))
            return self._detail(item, verdict)

    def changes(self, since: int) -> dict[str, Any]:
        """The items of which something was said after the correction ``since``, as they are now; the
        rest of very many after ``last``."""
        with self._lock:
            verdicts, place = self._caught_up(), self._open.lists.place
            changed = sorted(
                (verdict.version, name)
                for name, verdict in verdicts.items()
                if verdict.version > since and name in place
            )
            told = changed[:MOST_CHANGES]
            return {
                "items": [
                    summary(self._open.index, place[name], verdicts.of(name)) for _, name in told
                ],
                "last": told[-1][0] if len(told) < len(changed) else verdicts.last_id,
                "counts": self._counts(verdicts),
                "round": self._open.index.number,
            }

    def say(self, item: int, said: Said) -> dict[str, Any]:
        """Records what a person says of an item, and gives how it is then.

        Raises:
            NoSuchItemError: there is none of that number.
            StaleError: something was said of it since the page was made; nothing is recorded.
            DataError: it means nothing here.
            RunError: it cannot be written.
        """
        with self._lock:
            name = self._name(item)
            self._check_round(said.round)
            verdicts = self._caught_up()
            known = verdicts.tokens.get(said.token)
            if known is None:
                verdict = verdicts.of(name)
                if said.version != verdict.version:
                    raise StaleError(
                        "Something was said of this item since the page was made.",
                        "look at what it is now, and say it again if it still holds",
                        self._detail(item, verdict),
                    )
                known = self._record(item, said, verdict)
                verdicts = self._caught_up()
            elif (known.item, known.action) != (name, said.action):
                raise DataError(
                    "This token was used for something else.", "a new token", "reload the page"
                )
            return {
                "recorded": known.id,
                "item": self._detail(item, verdicts.of(name)),
                "counts": self._counts(verdicts),
                "last": verdicts.last_id,
            }

    def thumbnail(self, number: int, item: int, drawn: bool = False) -> bytes:
        """A small picture of an item, ``drawn`` with its labels where they have places.

        Raises:
            NoSuchItemError, StaleError: as ``detail``.
            PictureError: it cannot be read.
        """
        with self._lock:
            self._check_round(number)
            name, opened = self._name(item), self._open
            drawn = drawn and opened.index.task != "classification"
            verdict = self._caught_up().of(name)

        def draw(picture: Tensor, size: tuple[int, int]) -> Image.Image:
            return drawn_over(opened.index, item, verdict.evidence, picture, size)

        return opened.thumbnails.get(
            (item, verdict.version if drawn else -1),
            lambda: thumbnail(opened.pictures[item], name, draw if drawn else None),
        )

    def picture(self, number: int, item: int) -> bytes:
        """The large picture of an item; as ``thumbnail``."""
        with self._lock:
            self._check_round(number)
            name, source = self._name(item), self._open.pictures[item]
        return large(source, name)

    def _check_round(self, number: int) -> None:
        """Refuses what is said of, or asked of, another round than the one that is open."""
        if number != self._open.index.number:
            raise StaleError(
                f"The page shows round {number} of the labels, and round "
                f"{self._open.index.number} is there.",
                "reload the page; what was recorded is kept",
                None,
            )

    def _renewed(self) -> None:
        """Opens a newer round; the one that is open stays where that fails."""
        try:
            self._open = _Opened(self.run, self._moved, self._open)
            self.log = CorrectionLog(self.run / FILE, self._open.index.classes)
            self._verdicts = Verdicts()
        except RunError:
            return

    def _caught_up(self) -> Verdicts:
        corrections = self.log.read()
        if len(corrections) < self._verdicts.last_id:  # Somebody put another log in its place.
            self._verdicts = Verdicts()
        self._verdicts.add(corrections[self._verdicts.last_id :])
        return self._verdicts

    def _name(self, item: int) -> str:
        if not 0 <= item < len(self._open.index):
            raise NoSuchItemError(
                f"There is no item {item}.",
                f"a number from 0 to {len(self._open.index) - 1}",
                "choose one of a list",
            )
        return self._open.index.names[item]

    def _record(self, item: int, said: Said, verdict: Verdict) -> Correction:
        index, label, boxes = self._open.index, said.label, None
        undoes = None
        if said.label is not None and index.task != "classification":
            raise DataError(
                f"A class is given for a picture with {index.task} labels.", "boxes", "leave it out"
            )
        if said.boxes is not None and index.task in ("classification", "segmentation"):
            raise DataError("Boxes are given for a run without boxes.", "none", "leave them out")
        if said.action == "undo":
            if verdict.last is None:
                raise DataError("Nothing was said of this item.", "something to undo", "go on")
            undoes = verdict.last.id
        elif said.action == "skip":
            label = None
        elif index.task == "classification":
            label = self._class_of(item, said, verdict)
        elif index.task == "segmentation":
            if said.action == "relabel":
                raise DataError(
                    "Pixels cannot be painted here.",
                    "accept, reject or skip",
                    "export the picture to Label Studio or CVAT, and import what was painted there",
                )
        elif said.action != "reject":
            boxes = self._boxes_of(item, said, verdict)
        return self.log.append(
            index.names[item],
            said.action,
            label=label,
            boxes=boxes,
            round=index.number,
            by="review",
            undoes=undoes,
            token=said.token,
        )

    def _class_of(self, item: int, said: Said, verdict: Verdict) -> str:
        """The class that is accepted, rejected or given; it stands by itself in the log."""
        believed = label_of(self._open.index, item, verdict.evidence)
        if said.action == "relabel":
            if said.label is None or said.label not in self._open.index.classes:
                raise DataError(
                    f"The class is {said.label!r}.", "one of the classes of the run", "choose one"
                )
            return said.label
        if believed < 0:
            raise DataError(
                f"Nothing is believed of this item, so there is nothing to {said.action}.",
                "a class",
                "give it one",
            )
        return self._open.index.classes[believed]

    def _boxes_of(self, item: int, said: Said, verdict: Verdict) -> list[dict[str, Any]]:
        index = self._open.index
        size = size_of(index, item)
        shown = shown_things(index, item, verdict.evidence)
        if said.boxes is None:
            if said.action == "relabel":
                raise DataError("No boxes are given.", "all boxes of the picture", "give them")
            accepted = accepted_things(shown, index.classes, size)
            if shown and not accepted:
                raise DataError(
                    "No box of this picture is accepted.",
                    "the boxes that are right, or none for an empty picture",
                    "give them as a relabel",
                )
            return accepted
        wanted = [box.model_dump(by_alias=True) for box in said.boxes]
        return said_things(wanted, shown, index.classes, size)

    def _counts(self, verdicts: Verdicts) -> dict[str, int]:
        status = self._open.lists.status(verdicts)
        counts: NDArray[Any] = np.bincount(status, minlength=len(Status))
        return {one.name.lower(): int(counts[one]) for one in Status}

    def _detail(self, item: int, verdict: Verdict) -> dict[str, Any]:
        opened = self._open
        return detail(opened.index, item, verdict, opened.ranking, opened.given)
