"""Runs whose labels are corrected with the truth, and a round that is trained with that."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from claims.harness import Measure
from leaven.job import RunConfig, run
from leaven.labels import CorrectionLog, LabelStore, Source

First = Callable[[int], Path]
"""seed -> the folder of a finished run."""


def first_round(options: Callable[[int], Mapping[str, Any]]) -> First:
    """Runs that several variants go on from, each trained once; they go when the process ends.

    Args:
        options: seed -> those of ``leaven.run``.
    """

    @cache
    def kept(seed: int) -> TemporaryDirectory[str]:
        folder = TemporaryDirectory()
        run(
            **options(seed),
            seed=seed,
            out=Path(folder.name) / "run",
            threads=torch.get_num_threads(),
        )
        return folder

    return lambda seed: Path(kept(seed).name) / "run"


def uncorrected(first: First) -> Measure:
    """An experiment: the run before any correction."""
    return lambda seed: _figures(RunConfig.read(first(seed) / "config.yaml"))


def doubtful(confidence: Tensor, seed: int) -> Tensor:
    """The least confident labels first."""
    return confidence.argsort(stable=True)


def at_random(confidence: Tensor, seed: int) -> Tensor:
    """Labels in any order."""
    return torch.tensor(random.Random(seed).sample(range(len(confidence)), len(confidence)))


def corrected(first: First, choose: Callable[[Tensor, int], Tensor], count: int) -> Measure:
    """An experiment: ``count`` labels of a run corrected with the truth, and a round with these.

    A right label is accepted and a wrong one relabelled. ``wrong_labels_found`` is how many were
    wrong.

    Args:
        first: the run.
        choose: confidences (n,) and a seed -> (n,) the order in which a person looks at labels.
        count: items that the person looks at.
    """

    def measure(seed: int) -> dict[str, float]:
        with TemporaryDirectory() as folder:
            out = Path(shutil.copytree(first(seed), Path(folder) / "run"))
            wrong = _correct(out, choose, count, seed)
            config = RunConfig.read(out / "config.yaml", out=out)
            return {**_figures(config, with_corrections=True), "wrong_labels_found": float(wrong)}

    return measure


def _correct(out: Path, choose: Callable[[Tensor, int], Tensor], count: int, seed: int) -> int:
    names, labels, classes, truth = LabelStore(out / "labels").read()
    assert truth is not None
    rows = (labels.source != int(Source.PERSON)).nonzero().squeeze(1)
    rows = rows[choose(labels.confidence[rows], seed)[:count]]
    wrong = labels.classes[rows] != truth[rows]
    CorrectionLog(out).append_all(
        {
            "item": names[row],
            "action": "relabel" if different else "accept",
            "label": classes[int(truth[row])],
        }
        for row, different in zip(rows.tolist(), wrong.tolist(), strict=True)
    )
    return int(wrong.sum())


def _figures(config: RunConfig, **how: Any) -> dict[str, float]:
    """Those of a run that is finished, or of the round that it goes on with."""
    summary = run(config=config, resume=True, **how).summary
    return {
        "accuracy": float(summary["metrics"]["accuracy"]),
        "label_accuracy": float(summary["labels"]["accuracy"]),
        "accepted_share": float(summary["labels"]["accepted_share"]),
    }
