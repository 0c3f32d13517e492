"""What people said of the labels of a run: a log that is only ever added to."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from leaven.errors import DataError, RunError
from leaven.labels.correction_fields import Action, check_class, check_fields, check_item

R = TypeVar("R")

FILE = "corrections.jsonl"
"""The name of the log in a run folder."""

LOCK_SECONDS = 60.0
"""How long an append waits for other processes."""


@dataclass(frozen=True, slots=True)
class Correction:
    """One thing that a person said.

    Attributes:
        id: 1, 2, ... in the order they were recorded.
        time: when, ISO 8601, UTC.
        item: the stable name of the picture.
        action: ``accept`` (the round's label is right), ``reject`` (it is wrong), ``relabel`` (this
            is right: ``label`` or ``boxes``), ``skip`` (nothing is said) or ``undo``.
        label: the class that is accepted, rejected or given; None where the round's is meant, or
            where boxes say it.
        boxes: None, or what is right of the picture: ``{"box": [x1, y1, x2, y2] in pixels of the
            picture as it was found, "class": name, "mask": COCO run lengths {"size": [h, w],
            "counts": str} or None}``. An empty list: nothing is there.
        round: the round of labels that was looked at.
        by: "review", "label-studio", "cvat", ...
        undoes: the id that an ``undo`` takes back.
        token: the client's unique id of the request, or None.
    """

    id: int
    time: str
    item: str
    action: Action
    label: str | None = None
    boxes: tuple[Mapping[str, Any], ...] | None = None
    round: int = 0
    by: str = "review"
    undoes: int | None = None
    token: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as they are in the log."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        fields["boxes"] = None if self.boxes is None else [dict(box) for box in self.boxes]
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Correction:
        """The correction of those fields, checked.

        Raises:
            DataError: a field is missing, unknown, or not what it should be.
        """
        check_fields(fields)
        boxes = fields["boxes"]
        return cls(**{**fields, "boxes": None if boxes is None else tuple(boxes)})


_FIELDS = tuple(Correction.__slots__)


class CorrectionLog:
    """``corrections.jsonl`` of a run: one JSON object a line, added to and never changed.

    An append is on the disk when it returns; a kill in the middle of one leaves a torn last line,
    which is not read and is cut off before the next append. Several threads and processes may
    append and read at once. Reading costs what was appended since the last read.

    Args:
        path: the file, or the folder of a run.
        classes: the class names that may be given. Those of the labels beside the log when None;
            any, where there are no labels either. Items are those of these labels in the same way.
    """

    def __init__(self, path: Path | str, classes: Sequence[str] | None = None) -> None:
        path = Path(path)
        self.path = path / FILE if path.is_dir() else path
        self._classes = None if classes is None else list(classes)
        self._items: frozenset[str] | None = None
        self._mine = threading.RLock()
        self._lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=LOCK_SECONDS)
        self._forget()

    def _forget(self) -> None:
        self._all: list[Correction] = []
        self._tokens: dict[str, Correction] = {}
        self._taken_back: set[int] = set()
        self._standing: dict[str, Correction] | None = None
        self._whole = 0
        """Bytes of whole lines that were read."""
        self._file: tuple[int, int] | None = None

    def append(
        self,
        item: str,
        action: Action,
        *,
        label: str | None = None,
        boxes: Iterable[Mapping[str, Any]] | None = None,
        round: int = 0,
        by: str = "review",
        undoes: int | None = None,
        token: str | None = None,
    ) -> Correction:
        """Record one correction and return it; see ``Correction`` for the arguments.

        With a ``token`` that was recorded before, that correction is returned and nothing is
        written, so that a request may be repeated. An ``undo`` may leave ``item`` empty.

        Raises:
            DataError: a value that is not what it should be, an item or a class that the run does
                not have, or an ``undo`` of what is not there, is an ``undo`` or is undone.
            RunError: the log is damaged or cannot be written; what was recorded stays.
        """
        said = {
            "item": item, "action": action, "label": label, "boxes": boxes, "round": round,
            "by": by, "undoes": undoes, "token": token,
        }  # fmt: skip
        return self.append_all([said])[0]

    def append_all(self, said: Iterable[Mapping[str, Any]]) -> list[Correction]:
        """Record many at once, each a mapping of the arguments of ``append``.

        All are checked before one is written. A kill leaves the first ones, whole: with tokens the
        same call completes them.

        Raises:
            DataError, RunError: as ``append``; none of them is recorded then.
        """
        wanted = list(said)
        with self._mine, self._writing():
            self._catch_up()
            kept = self._whole, len(self._all)
            found = []
            try:
                for one in wanted:
                    known = self._tokens.get(one["token"]) if one.get("token") else None
                    found.append(known or self._take(self._made(one)))
                new = self._all[kept[1] :]
                lines = b"".join(_line(correction) for correction in new)
                if lines:
                    self._write(lines)
            except BaseException:
                self._forget()
                raise
            return found

    def read(self, until: int | None = None) -> list[Correction]:
        """Everything that was recorded, in order; up to the id ``until`` when it is given.

        Raises:
            RunError: the log is damaged, or cannot be read.
        """
        with self._mine:
            self._catch_up()
            return self._all[:until]

    def standing(self, until: int | None = None) -> dict[str, Correction]:
        """For each item the latest that was said of it and is not undone: an accept, a reject or a
        relabel, as of the id ``until`` when it is given. A skip says nothing, so what was said
        before a skip still stands.

        Raises:
            RunError: as ``read``.
        """
        with self._mine:
            self._catch_up()
            if until is None or until >= len(self._all):
                if self._standing is None:
                    self._standing = standing(self._all)
                return dict(self._standing)
            return standing(self._all[:until])

    @property
    def last_id(self) -> int:
        """The id of the last correction, 0 where there is none.

        Raises:
            RunError: as ``read``.
        """
        with self._mine:
            self._catch_up()
            return len(self._all)

    def _made(self, said: Mapping[str, Any]) -> Correction:
        """The correction with its id and time, checked against the log and the classes."""
        unknown = set(said) - set(_FIELDS[2:])
        if unknown or not {"item", "action"} <= set(said):
            raise DataError(
                f"A correction of the fields {sorted(said)}.",
                f"item and action, and of {', '.join(_FIELDS[4:])} what there is",
                "name them so",
            )
        boxes = said.get("boxes")
        fields = {
            "id": len(self._all) + 1,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "label": None, "round": 0, "by": "review", "undoes": None, "token": None,
            **said,
            "boxes": None if boxes is None else [dict(box) for box in boxes],
        }  # fmt: skip
        if fields["action"] == "undo":
            fields["item"] = self._undone(fields["undoes"], fields["item"]).item
        made = Correction.from_dict(fields)
        if made.action != "undo":
            self._check_item(made.item)
        classes = self._known_classes()
        for name in (made.label, *(box["class"] for box in made.boxes or ())):
            if classes is not None and name is not None:
                check_class(name, classes)
        return made

    def _check_item(self, item: str) -> None:
        if self._items is None or item not in self._items:
            # Also where a later round has more pictures.
            self._items = _items_beside(self.path)
        if self._items is not None:
            check_item(item, self._items)

    def _undone(self, number: Any, item: str) -> Correction:
        """What an ``undo`` takes back."""
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not whole or not 1 <= number <= len(self._all):
            raise DataError(
                f"There is no correction {number!r} to undo.",
                f"the id of one, 1 to {len(self._all)}" if self._all else "one to undo",
                "look at what was recorded again, and undo one of these",
            )
        undone = self._all[number - 1]
        if item not in ("", None, undone.item):
            raise DataError(
                f"Correction {number} is about {undone.item!r}, not {item!r}.",
                "the id of a correction of that item",
                "look at what was recorded again",
            )
        if undone.action == "undo" or number in self._taken_back:
            what = "is an undo" if undone.action == "undo" else "is undone already"
            raise DataError(
                f"Correction {number} {what}.",
                "one that stands",
                "to bring back what was undone, say it again",
            )
        return undone

    def _known_classes(self) -> list[str] | None:
        if self._classes is None:
            self._classes = _classes_beside(self.path)
        return self._classes

    def _take(self, correction: Correction) -> Correction:
        self._all.append(correction)
        self._standing = None
        if correction.token is not None:
            self._tokens[correction.token] = correction
        if correction.undoes is not None:
            self._taken_back.add(correction.undoes)
        return correction

    def _catch_up(self) -> None:
        """Reads the whole lines that were appended since the last time."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if self._file != (status.st_dev, status.st_ino) or status.st_size < self._whole:
                    self._forget()
                    self._file = (status.st_dev, status.st_ino)
                if status.st_size == self._whole:
                    return
                file.seek(self._whole)
                added = file.read()
        except FileNotFoundError:
            self._forget()
            return
        except OSError as error:
            raise RunError(
                f"{self.path} cannot be read: {error.strerror or error}.",
                "a file of corrections that may be read",
                "change permissions, or check the path",
            ) from error
        added = added[: added.rfind(b"\n") + 1]
        try:
            for line in added.splitlines(keepends=True):
                self._take(_parsed(line, len(self._all) + 1, self.path))
                self._whole += len(line)
        except RunError:
            self._forget()
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise RunError(
                f"{self.path} has been locked by another process for {LOCK_SECONDS:.0f} s.",
                "a log that is free within that time",
                "see what else works on this run; if nothing does, remove "
                f"{self.path.name}.lock and try again",
            ) from None
        except (OSError, NotImplementedError) as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            self._lock.release()

    def _write(self, lines: bytes) -> None:
        """Cuts a torn last line off and adds whole ones, on the disk when this returns."""
        new = not self.path.exists()
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                os.ftruncate(handle, self._whole)
                os.lseek(handle, self._whole, os.SEEK_SET)
                left = memoryview(lines)
                while left:
                    left = left[os.write(handle, left) :]
                os.fsync(handle)
                status = os.fstat(handle)
            finally:
                os.close(handle)
            if new:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise self._unwritable(error) from error
        self._file = (status.st_dev, status.st_ino)
        self._whole += len(lines)

    def _unwritable(self, error: Exception) -> RunError:
        return RunError(
            f"The correction cannot be written to {self.path}: {error}.",
            "a run folder that can be written, with free space",
            "free space or change permissions and say it again; what was said before is kept",
        )


def standing(corrections: Iterable[Correction]) -> dict[str, Correction]:
    """The latest accept, reject or relabel of each item that is not undone."""
    corrections = list(corrections)
    undone = {correction.undoes for correction in corrections}
    return {
        correction.item: correction
        for correction in corrections
        if correction.action not in ("skip", "undo") and correction.id not in undone
    }


def _line(correction: Correction) -> bytes:
    # ASCII with escapes: no character of a name can end a line.
    return json.dumps(correction.as_dict(), allow_nan=False).encode("ascii") + b"\n"


def _parsed(line: bytes, number: int, path: Path) -> Correction:
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise DataError(f"A line that holds a {type(fields).__name__}.", "a JSON object")
        correction = Correction.from_dict(fields)
        if correction.id != number:
            raise DataError(f"The id is {correction.id}.", f"{number}, as the ids count the lines")
        return correction
    except (ValueError, RecursionError, DataError) as error:
        why = error.found if isinstance(error, DataError) else str(error)
        raise RunError(
            f"Line {number} of {path} is no correction: {why}",
            "a line that leaven wrote",
            "mend that line from a copy, or move the lines from there on to another file; those "
            "before it are whole",
        ) from None


def _classes_beside(path: Path) -> list[str] | None:
    """The class names of the latest readable round of labels of the run, or None."""
    import pyarrow.parquet as pq

    def read(file: Path) -> list[str]:
        kept = (pq.read_schema(file).metadata or {})[b"classes"]
        return [str(name) for name in json.loads(kept)]

    return _of_latest(path, read)


def _items_beside(path: Path) -> frozenset[str] | None:
    """The items of that round, or None."""
    import pyarrow.parquet as pq

    def read(file: Path) -> frozenset[str]:
        return frozenset(pq.read_table(file, columns=["item"])["item"].to_pylist())

    return _of_latest(path, read)


def _of_latest(path: Path, read: Callable[[Path], R]) -> R | None:
    """What ``read`` says of the latest round of labels beside a log that is whole."""
    for file in sorted((path.parent / "labels").glob("round-*.parquet"), reverse=True):
        try:
            return read(file)
        except (OSError, ValueError, KeyError):  # a damaged round; ArrowInvalid is a ValueError
            continue
    return None


def _sync_folder(folder: Path) -> None:
    """So that a new file is still there after the power goes."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
