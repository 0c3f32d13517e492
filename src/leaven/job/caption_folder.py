"""The folder of a caption job: its options, and what was written so far."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from leaven.errors import RunError
from leaven.job.folder import write_text
from leaven.job.output_paths import check_folder
from leaven.plain import read_json

OPTIONS, JOURNAL, SUMMARY = "caption.json", "written.jsonl", "captions.json"

RAW, WRITTEN, CLEANED = 0, 1, 2
"""The rounds of the label store: what came with the pictures, what was written, and the same
cleaned for training."""

_MAY_DIFFER = {"batch", "limit", "device", "precision", "more_than"}
"""What changes no caption but by the rounding of a batch or a device."""


@dataclass(frozen=True)
class CaptionOptions:
    """What decides the captions of a job.

    Attributes:
        data: folder of pictures or Parquet file; ``scenes`` for the embedded ones.
        captioner: name or local folder.
        labels: a file of raw captions, or None.
        raw_column: the column of raw captions.
        use_raw: the captioner is given the raw captions.
        temperature, max_tokens, seed: of what is drawn.
        batch: pictures at once.
        limit: only so many pictures.
        device, precision: of the computing.
        more_than: see ``leaven.quality.concept_density``.
    """

    data: str
    captioner: str
    labels: str | None = None
    raw_column: str | None = None
    use_raw: bool = True
    temperature: float = 0.2
    max_tokens: int = 1024
    seed: int = 0
    batch: int = 32
    limit: int | None = None
    device: str = "auto"
    precision: str = "auto"
    more_than: int = 10

    def whole_paths(self) -> CaptionOptions:
        """With absolute paths, so that the job can be gone on with from anywhere."""
        changes: dict[str, Any] = {
            name: str(Path(value).resolve())
            for name in ("data", "captioner", "labels")
            if (value := getattr(self, name)) is not None and Path(value).exists()
        }
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal holds of a picture: a caption, or why there is none."""

    item: str
    text: str = ""
    tokens: int = 0
    cut: bool = False
    raw_cut: bool = False
    unreadable: str | None = None


class CaptionJournal:
    """Captions as JSON lines, on the disk as soon as their batch is done.

    After a crash the end may be torn; it is cut off and its pictures are written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> CaptionJournal:
        whole = self.read()
        self._file = self.path.open("ab")
        self._file.truncate(whole)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        self._file.close()

    def add(self, entries: Sequence[Entry]) -> None:
        """Writes the entries of a batch and flushes them to the disk."""
        assert self._file is not None
        lines = [json.dumps(asdict(entry)) + "\n" for entry in entries]
        self._file.write("".join(lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.entries.update((entry.item, entry) for entry in entries)

    def read(self) -> int:
        """Fills ``entries`` from the file, where there is one; how many bytes are whole lines.

        Raises:
            RunError: a line is damaged, and there are whole ones behind it.
        """
        if not self.path.exists():
            return 0
        whole = 0
        with self.path.open("rb") as file:
            torn = 0
            for number, line in enumerate(file, 1):
                entry = _parsed(line)
                if entry is None:
                    torn = torn or number
                    continue
                if torn:
                    raise RunError(
                        f"Line {torn} of {self.path} is damaged, and there are whole ones behind it.",
                        "lines as leaven wrote them",
                        "take that line out; its picture is written again",
                    )
                whole += len(line)
                self.entries[entry.item] = entry
        return whole


def _parsed(line: bytes) -> Entry | None:
    """The entry of a whole line; None of another one."""
    try:
        entry = Entry(**read_json(line.decode()))
    except (ValueError, TypeError):
        return None
    return entry if line.endswith(b"\n") else None


def caption_folder(data: str, captioner: str) -> Path:
    """``captions/DATA-CAPTIONER``."""
    parts = [Path(data).stem, Path(captioner).name]
    return Path("captions") / re.sub(r"[^A-Za-z0-9]+", "-", " ".join(parts)).strip("-").lower()


def stored_options(folder: Path) -> CaptionOptions:
    """The options of the job in ``folder``.

    Raises:
        RunError: there is no job.
    """
    return CaptionOptions(**{
        name: value for name, value in _stored(folder).items()
        if name in {field.name for field in fields(CaptionOptions)}
    })  # fmt: skip


def check_captions(folder: Path, options: CaptionOptions, *, resume: bool) -> None:
    """Whether a job may go on or begin in ``folder``; nothing is changed.

    Raises:
        RunError: the folder holds something else, or a job with other options.
    """
    if (folder / OPTIONS).is_file():
        _check_same(folder, asdict(options), resume)
    elif resume:
        raise _no_job(folder)
    else:
        check_folder(folder, "captions", ())


def prepare_captions(folder: Path, options: CaptionOptions, prints: dict[str, str]) -> None:
    """Makes the folder that ``check_captions`` has found good.

    Args:
        prints: fingerprints of the data and of the captioner, by name.

    Raises:
        RunError: the job in it was begun with other pictures or another captioner.
    """
    if (folder / OPTIONS).is_file():
        _check_same(folder, dict(prints), resume=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / OPTIONS, json.dumps({**asdict(options), **prints}, indent=2) + "\n")


def print_of(names: Sequence[str], raw: Sequence[str]) -> str:
    """The fingerprint of the items and their raw captions."""
    digest = hashlib.sha256()
    for name, text in zip(names, raw, strict=True):
        digest.update(json.dumps([name, text]).encode())
    return digest.hexdigest()[:16]


def check_texts(folder: Path, items: Sequence[str]) -> None:
    """Whether each item has a text of its own below ``folder``, before one is written.

    Raises:
        RunError: an item's name leads out of the folder, or two items have the same text.
    """
    owners: dict[Path, str] = {}
    for item in items:
        path = _text_of(folder, item)
        other = owners.setdefault(path, item)
        if other != item:
            raise RunError(
                f"The items {other!r} and {item!r} would both have the text {path}.",
                "names that differ before their last dot",
                "rename one of them, or leave --txt out: labels/ has all captions",
            )


def export_texts(folder: Path, said: Sequence[tuple[str, str]]) -> int:
    """Writes each caption as ``ITEM.txt`` below ``folder``, where trainers look for it beside a copy
    of the pictures; how many were written. A text that is there is replaced.

    Raises:
        RunError: an item's name leads out of the folder.
    """
    for item, text in said:
        write_text(_text_of(folder, item), text + "\n")
    return len(said)


def _text_of(folder: Path, item: str) -> Path:
    path = (folder / item).with_suffix(".txt")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RunError(
            f"The item {item!r} leads out of {folder}.",
            "names below a folder",
            "rename it, or leave --txt out: labels/ has all captions",
        )
    return path


def _stored(folder: Path) -> dict[str, Any]:
    try:
        found = read_json((folder / OPTIONS).read_text("utf-8"))
    except FileNotFoundError:
        raise _no_job(folder) from None
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder / OPTIONS} cannot be read: {error}.",
            "the options as `leaven caption` wrote them",
            "start anew in another folder",
        ) from error
    if not isinstance(found, dict) or not {"data", "captioner"} <= found.keys():
        raise _no_job(folder)
    return found


def _no_job(folder: Path) -> RunError:
    return RunError(
        f"There are no captions in {folder}.",
        f"a folder with {OPTIONS}",
        "start without --resume",
    )


def _check_same(folder: Path, mine: dict[str, Any], resume: bool) -> None:
    theirs = _stored(folder)
    if not resume:
        raise RunError(
            f"{folder} holds captions of {theirs['data']} by {theirs['captioner']}.",
            "a new or empty folder",
            "go on with them by --resume, or choose another --out; nothing was changed",
        )
    changed = [
        f"{name}: {theirs.get(name)!r} there, {value!r} now"
        for name, value in mine.items()
        if theirs.get(name) != value and name not in _MAY_DIFFER
    ]
    if changed:
        raise RunError(
            f"The captions in {folder} were begun with other options ({'; '.join(changed)}).",
            "the same options, pictures, raw captions and captioner",
            "resume with `--resume --out FOLDER` alone, or start in another folder",
        )


def remove_empty(folder: Path) -> None:
    """Removes a folder in which nothing has begun, so that the command can be given again."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {OPTIONS, JOURNAL}:
        journal = folder / JOURNAL
        if not journal.exists() or journal.stat().st_size == 0:
            shutil.rmtree(folder, ignore_errors=True)
