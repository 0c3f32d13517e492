"""Reads a run folder as far as it is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from leaven.errors import LeavenError, RunError
from leaven.labels.classes import ClassLabels
from leaven.labels.store import LabelStore
from leaven.plain import read_json, read_yaml

Record = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Test:
    """What the model said of the held-out items: names (n), truth (n,), probs (n, K)."""

    names: list[str]
    truth: Tensor
    probs: Tensor


@dataclass(frozen=True)
class RoundFigures:
    """One round of labels in figures; ``accuracy`` is None when the truth is not known."""

    number: int
    items: int
    accepted: int
    accuracy: float | None


@dataclass
class RunFolder:
    """The contents of a run folder; what is missing is empty or None.

    ``problems`` says which files could not be read, for people.
    """

    path: Path
    config: Record = field(default_factory=dict)
    summary: Record = field(default_factory=dict)
    metrics: list[Record] = field(default_factory=list)
    baseline: list[Record] = field(default_factory=list)
    rounds: list[RoundFigures] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    labels: ClassLabels | None = None
    truth: Tensor | None = None
    test: Test | None = None
    gallery: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def task(self) -> str:
        """What the run was for."""
        return str(self.summary.get("task") or self.config.get("task") or "classification")


def read_run(path: Path) -> RunFolder:
    """Everything in the run folder ``path`` that a report shows.

    Raises:
        RunError: ``path`` is no run folder.
    """
    if not (path / "config.yaml").is_file() and not (path / "summary.json").is_file():
        raise RunError(
            f"{path} is no run folder." if path.is_dir() else f"There is no folder {path}.",
            "a folder with config.yaml and summary.json, as `leaven run` writes it",
            "Check the path, or make a run with `leaven run --out FOLDER`.",
        )
    run = RunFolder(path)
    run.config = _try(run, "config.yaml", _yaml) or {}
    run.summary = _try(run, "summary.json", _json) or {}
    run.metrics = _try(run, "metrics.jsonl", _json_lines) or []
    run.baseline = _try(run, "baseline/metrics.jsonl", _json_lines) or []
    run.gallery = _try(run, "gallery.parquet", _gallery) or []
    if run.task == "classification":
        run.test = _try(run, "test.parquet", read_test)
        _read_labels(run)
    run.classes = run.classes or _class_names(run.summary)
    return run


def _class_names(summary: Record) -> list[str]:
    data = summary.get("data")
    names = data.get("classes") if isinstance(data, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []


def _try(run: RunFolder, name: str, reader: Callable[[Path], T]) -> T | None:
    """What ``reader`` makes of a file, or None, with a problem noted when it is damaged."""
    file = run.path / name
    if not file.is_file():
        return None
    try:
        return reader(file)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, pa.ArrowException) as error:
        reason = str(error).splitlines()
        run.problems.append(
            f"{name} cannot be read ({reason[0] if reason else type(error).__name__})."
        )
        return None


def _read_labels(run: RunFolder) -> None:
    store = LabelStore(run.path / "labels")
    for number in store.rounds():
        try:
            _, run.labels, run.classes, run.truth = store.read(number)
        except LeavenError as error:
            run.problems.append(error.found)
            continue
        accuracy = None if run.truth is None else run.labels.accuracy(run.truth)
        accepted = int(run.labels.accepted.sum())
        run.rounds.append(RoundFigures(number, len(run.labels), accepted, accuracy))


def _yaml(file: Path) -> Record:
    return _mapping(read_yaml(file.read_text("utf-8")))


def _json(file: Path) -> Record:
    return _mapping(read_json(file.read_text("utf-8")))


def _mapping(value: object) -> Record:
    if not isinstance(value, dict):
        raise ValueError(f"a mapping was expected, not {type(value).__name__}")
    return value


def _json_lines(file: Path) -> list[Record]:
    """The whole lines; a run that was killed may leave the last one half written."""
    records = []
    for line in file.read_text("utf-8", errors="replace").splitlines():
        try:
            record = read_json(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def read_test(file: Path) -> Test | None:
    """The held-out items in a ``test.parquet``; None of none."""
    table = pq.read_table(file)
    if len(table) == 0:
        return None
    flat = pc.list_flatten(table["probs"]).to_numpy().astype(np.float32)
    truth = pc.fill_null(table["truth"], -1).to_numpy().astype(np.int64)
    probs = torch.tensor(flat).view(len(table), -1)
    return Test(table["item"].to_pylist(), torch.tensor(truth), probs)


def _gallery(file: Path) -> list[Record]:
    return list(pq.read_table(file).to_pylist())
