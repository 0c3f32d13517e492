"""What a run writes down while it goes: metrics.jsonl, TensorBoard events, a progress bar."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


class Journal:
    """The scalars of a run, as JSON lines and as TensorBoard events.

    A resumed run continues at the line of its checkpoint: what was written after it is dropped
    and written again.

    Args:
        folder: the run folder, or None to write nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.lines = 0
        self._file: IO[str] | None = None
        self._events: Any = None

    def write(self, step: int, **values: float | int | str | None) -> None:
        """Adds one line; not-a-number becomes null."""
        if self.folder is None:
            return
        if self._file is None:
            self._open()
        assert self._file is not None
        clean = {key: _plain(value) for key, value in values.items()}
        self._file.write(json.dumps({"step": step, **clean}) + "\n")
        self._file.flush()
        self.lines += 1
        for key, value in clean.items():
            if isinstance(value, float):
                self._events.add_scalar(key, value, step)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._events.close()
            self._file = self._events = None

    def state_dict(self) -> dict[str, Any]:
        return {"lines": self.lines}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.close()
        self.lines = int(state["lines"])

    def _open(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "metrics.jsonl"
        kept = (
            path.read_text("utf-8").splitlines(keepends=True)[: self.lines] if path.exists() else []
        )
        self._file = path.open("w", encoding="utf-8")
        self._file.writelines(kept)
        self._events = SummaryWriter(str(self.folder / "events"))


def _plain(value: float | int | str | None) -> float | int | str | None:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


class Bar:
    """A progress bar with rate and remaining time; on something that is no terminal, log lines."""

    def __init__(self, title: str, shown: bool) -> None:
        self.title = title
        self._begun: tuple[float, float] | None = None
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._logs = shown and not sys.stderr.isatty()
        self._last_log = time.monotonic()
        if shown and sys.stderr.isatty():
            self._progress = Progress(
                TextColumn("{task.description:<14}"),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._progress.start()
            self._task = self._progress.add_task(self.title, total=1.0, rate="", note="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, progress: float, rate: float, note: str) -> None:
        """Moves the bar: ``progress`` in [0, 1], ``rate`` in images per second."""
        text, now = f"{rate:,.0f} images/s", time.monotonic()
        self._begun = self._begun or (now, progress)
        if self._progress is not None:
            self._progress.update(self._task, completed=progress, rate=text, note=note)
        elif self._logs and now - self._last_log > 15:
            self._last_log = now
            said = (f"{100 * progress:3.0f}%", text, self._left(now, progress), note)
            log.info("%s: %s", self.title, ", ".join(filter(None, said)))

    def _left(self, now: float, progress: float) -> str:
        """The time that the rest takes at the mean pace up to now, empty where that is not known."""
        begun, start = self._begun or (now, progress)
        if progress <= start:
            return ""
        seconds = (now - begun) * (1 - progress) / (progress - start)
        return f"{timedelta(seconds=round(seconds))} left"
