"""``leaven.audit``: what is wrong with a data set, found, told and written."""

from __future__ import annotations

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from leaven.atomic import replacing
from leaven.data.loading import Progress
from leaven.errors import ConfigError, RunError
from leaven.job.audit_data import Audited, read_audited
from leaven.job.audit_findings import (
    balance_findings,
    broken_findings,
    foreign_findings,
    pair_findings,
)
from leaven.job.audit_labels import LabelAudit, audit_labels
from leaven.job.audit_models import BUDGETS, foreign_by_folds
from leaven.job.audit_pictures import cards
from leaven.job.config import DEFAULT_BUDGET, RunConfig
from leaven.job.folder import write_text
from leaven.job.output_paths import check_folder
from leaven.job.tasks import check_task
from leaven.quality.audit import KINDS, AuditFinding, findings_table, ordered
from leaven.quality.audit.duplicates import connected, duplicate_pairs
from leaven.quality.audit.foreign import Metric, neighbour_distance, share_as_far
from leaven.quality.audit.label_errors import cleanlab
from leaven.quality.audit.pictures import Looks, look_at, picture_faults
from leaven.report.audit_page import write_audit_page
from leaven.report.page import write_report
from leaven.train.journal import Bar
from leaven.version import __version__

log = logging.getLogger(__name__)

FILES = ("audit.json", "audit.parquet", "audit.html")


@dataclass(frozen=True)
class AuditResult:
    """What an audit gives.

    Attributes:
        findings: by kind, the worst first.
        summary: the content of ``audit.json``.
        folder: where ``audit.json``, ``audit.parquet`` and ``audit.html`` are.
    """

    findings: list[AuditFinding]
    summary: dict[str, Any]
    folder: Path


def audit(
    data: str | Path | None = None,
    *,
    run: str | Path | None = None,
    config: RunConfig | None = None,
    folds: int = 5,
    out: str | Path | None = None,
    show: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> AuditResult:
    """Finds what is wrong with a data set: labels, copies, leaks, foreign and broken pictures.

    Labels are judged by models that have not learnt from them: a net for each of ``folds`` parts,
    trained on the other parts; with ``features``, logistic regression on what a frozen backbone
    says; with ``run``, the model of the run for the labels it has not seen.

    Args:
        data: as for ``leaven.run``; that of the ``run`` when None.
        run: the folder of a finished run; its splits are looked at, and the files are written there.
        config: all options at once, in place of ``data`` and ``options``.
        folds: at least 2.
        out: the folder to write to; that of the run, or ``audits/DATA``, when None.
        show: draw progress bars.
        progress: called with (done, all) while pictures are read.
        options: the fields of ``RunConfig`` that say what is read and how it is computed.

    Raises:
        LeavenError: something that the user can put right; says what to do.
    """
    began = time.monotonic()
    run = None if run is None else Path(run)
    if config is None:
        config = audit_config(run, **options, **({} if data is None else {"data": str(data)}))
    check_task(config)
    if folds < 2:
        raise ConfigError(f"folds is {folds}.", "2 or more", "correct the number of folds")
    cleanlab("cleanlab")  # Before anything long begins.
    folder = _folder(config, run, None if out is None else Path(out))
    if config.threads:
        torch.set_num_threads(config.threads)
    whole = read_audited(config, run, progress)
    with _bar("looking", show) as tell:
        looks = look_at(whole.listing.sources, whole.names, tell)
    faults = picture_faults(looks)
    sound = torch.ones(len(whole.names), dtype=torch.bool)
    sound[[fault.item for fault in faults]] = False
    whole = whole.keeping(sound)
    with _bar("comparing", show) as tell:
        pairs = duplicate_pairs(
            looks.digests, looks.thumbnails, sound, seed=config.seed, progress=tell
        )
    groups = connected(len(whole.names), pairs)
    labels = audit_labels(whole, config, groups, folds, show=show)
    findings = ordered(
        [
            *labels.findings,
            *pair_findings(whole, pairs),
            *_foreign(whole, config, looks, labels),
            *balance_findings(whole),
            *broken_findings(whole, faults),
        ]
    )
    readable = int(looks.readable.sum())
    summary = _summary(whole, config, run, findings, labels, readable, time.monotonic() - began)
    _write(folder, findings, summary, cards(whole, findings), run)
    return AuditResult(findings, summary, folder)


def audit_config(run: Path | None, **options: Any) -> RunConfig:
    """The options of an audit: those given, over those of the run.

    Raises:
        ConfigError: a wrong name, type or value.
        RunError: there is no finished run.
    """
    layers: dict[str, Any] = {}
    if run is not None:
        if not (run / "config.yaml").is_file() or not (run / "model").is_dir():
            raise RunError(
                f"There is no finished run in {run}.",
                "a run folder with config.yaml and model/",
                "check the path, or leave --run out",
            )
        layers = RunConfig.read(run / "config.yaml").model_dump(exclude_unset=True)
        for name in ("budget", "features", "features_to", "feature_dtype", "weights", "out"):
            layers.pop(name, None)
    config = RunConfig.make(**{**layers, **options}).settled()
    if config.budget == DEFAULT_BUDGET and "budget" not in options:
        task = "detection" if config.task == "instance" else config.task
        config = config.model_copy(update={"budget": str(BUDGETS.get(task, 3000))})
    return config


def _folder(config: RunConfig, run: Path | None, out: Path | None) -> Path:
    """Where the files go; they take the place of those of an earlier audit, and of nothing else.

    Raises:
        RunError: the folder holds something else, is a file, or cannot be written.
    """
    if out is None and run is not None:
        return run
    slug = re.sub(r"[^A-Za-z0-9]+", "-", Path(config.data.split("@")[0]).stem).strip("-").lower()
    folder = out or Path("audits") / (slug or "data")
    check_folder(folder, "audit", (FILES[0], "config.yaml"))
    return folder


def _foreign(
    whole: Audited, config: RunConfig, looks: Looks, labels: LabelAudit
) -> list[AuditFinding]:
    """Unlabelled pictures unlike the labelled ones."""
    images = whole.images
    if images is None:
        return []
    known = images.known
    # What a run has not been told counts as unlabelled for it.
    told = known & whole.seen[whole.rows] if bool(whole.seen.any()) else known
    open_rows = (~told).nonzero().squeeze(1)
    reference = told.nonzero().squeeze(1)
    if not len(open_rows) or len(reference) < 2:
        return []
    by_nets = config.task == "classification" and any(len(judge.seen) for judge in labels.judges)
    if labels.rows is None and by_nets:
        share = foreign_by_folds(images, labels.judges, open_rows)
        return foreign_findings(whole, open_rows, share, len(reference))
    metric: Metric = "cosine"
    rows = labels.rows
    if rows is None:
        metric, rows = "euclidean", looks.thumbnails[whole.rows].flatten(1).float() / 255
    told_rows = rows[reference]
    gauge = neighbour_distance(told_rows, told_rows, metric=metric, leave_out=True)
    distance = neighbour_distance(rows[open_rows], told_rows, metric=metric)
    return foreign_findings(whole, open_rows, share_as_far(distance, gauge), len(reference))


def _summary(
    whole: Audited,
    config: RunConfig,
    run: Path | None,
    findings: Sequence[AuditFinding],
    labels: LabelAudit,
    readable: int,
    seconds: float,
) -> dict[str, Any]:
    kinds = Counter(one.kind for one in findings)
    images = whole.images
    return {
        "leaven": __version__,
        "data": {
            "name": whole.name,
            "source": config.data,
            "items": len(whole.names) + len(whole.unlisted),
            "readable": readable,
            "labelled": 0 if images is None else int(images.known.sum()),
            "classes": list(whole.classes),
            "splits": dict(Counter(whole.splits)),
        },
        "task": config.task,
        "run": None if run is None else str(run),
        "findings": {kind: kinds.get(kind, 0) for kind in KINDS},
        "contradicting_pairs": sum(bool(one.contradicts) for one in findings),
        "labels": labels.about,
        "notes": [*whole.notes, *labels.notes],
        "seed": config.seed,
        "budget": config.budget,
        "seconds": round(seconds, 2),
    }


def _write(
    folder: Path,
    findings: Sequence[AuditFinding],
    summary: dict[str, Any],
    pictures: list[dict[str, Any]],
    run: Path | None,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "audit.parquet") as beside:
        pq.write_table(findings_table(findings), beside, compression="zstd")
    write_audit_page(folder / "audit.html", summary, findings, pictures)
    # Last, because it says that the others are there.
    write_text(folder / "audit.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    if run is not None and folder.resolve() == run.resolve():
        write_report(run)


@contextmanager
def _bar(title: str, show: bool) -> Iterator[Progress]:
    """A bar that is told (done, all)."""
    began = time.monotonic()
    with Bar(title, show) as bar:
        yield lambda done, count: bar.show(
            done / max(1, count), done / max(1e-9, time.monotonic() - began), f"{done} of {count}"
        )
