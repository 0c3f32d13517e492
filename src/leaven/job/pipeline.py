"""``leaven.run``: data in, labels, model, summary and report out."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from accelerate.utils import broadcast_object_list
from torch import nn

from leaven.data import Data, PairedPictures
from leaven.data.annotated_listing import TASKS
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import DataError, RunError
from leaven.job.config import RunConfig
from leaven.job.corrections import taken
from leaven.job.features import check_features, featured
from leaven.job.folder import abandon, prepare, write_text
from leaven.job.promises import check_enough
from leaven.job.rounds import (
    BASELINE,
    SUMMARY,
    Start,
    Work,
    about_corrections,
    begin,
    check_asked,
    said_in,
    to_do,
)
from leaven.job.stage import Stage, baseline_of
from leaven.job.tasks import STAGES, check_task, opened
from leaven.labels import Captions, LabelStore
from leaven.methods import Method, find_method
from leaven.models import load_model
from leaven.report import write_report
from leaven.train.settings import find_processes
from leaven.version import __version__

log = logging.getLogger(__name__)

R = TypeVar("R")

ALL_CORRECTED = (
    "Nothing is left without a label for {} to learn from: the round learned from labels alone."
)
"""What is said where people have labelled everything."""


@dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
        model: the fitted classifier, segmenter or detector, in eval mode.
        labels: what is believed about the training items, in the order of ``names``:
            ``ClassLabels``, a ``PixelRound``, or ``BoxLabels``, the latter two in the sizes of the
            pictures as they were found; None of pairs of pictures.
        names: their stable names.
        classes: the class names.
        metrics: on the held-out items; values are None where there are none.
        summary: the content of ``summary.json``.
        folder: the run folder.
    """

    model: Any
    labels: Any
    names: list[str]
    classes: tuple[str, ...]
    metrics: dict[str, float | None]
    summary: dict[str, Any]
    folder: Path

    @property
    def promise(self) -> dict[str, Any] | None:
        """What is promised of the labels, as in the summary; None where nothing was asked for."""
        found: dict[str, Any] | None = self.summary.get("promise")
        return found


def run(
    data: str | Path | None = None,
    *,
    config: RunConfig | None = None,
    resume: bool = False,
    with_corrections: bool = False,
    show: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Result:
    """Trains a method on data with few labels and writes a run folder.

    Args:
        data: an image folder, a Parquet file, ...; the embedded digits when None.
        config: all options at once, in place of ``data`` and ``options``.
        resume: go on with the run in ``out`` after a kill.
        with_corrections: with ``resume``, train a finished run on for a round, with what people said
            of its labels (``corrections.jsonl``); nothing happens where they said nothing new.
        show: draw progress bars.
        progress: called with (done, all) while pictures are read.
        options: the fields of ``RunConfig``, for example ``labels_per_class=4``.

    Raises:
        LeavenError: something that the user can put right; says what to do.
    """
    if config is None:
        config = RunConfig.make(**({} if data is None else {"data": str(data)}), **options)
    check_asked(with_corrections, resume)
    config = config.settled()
    method = find_method(config.method, config.task).configured(config.set)
    check_features(config, method)
    check_task(config)
    wanted = config
    config, folder = _agreed(wanted, lambda: prepare(wanted, resume=resume))
    work = _agreed(config, lambda: to_do(folder, with_corrections))
    if work is None:
        _agreed(config, lambda: _with_report(folder))
        return load_result(folder)

    try:
        _work(config, method, folder, resume, show, progress, work)
    except BaseException:
        abandon(folder)
        raise
    return load_result(folder)


def _with_report(folder: Path) -> None:
    """Writes the report of a run that was killed between its summary and that."""
    report, summary = folder / "report.html", folder / SUMMARY
    if not report.exists() or report.stat().st_mtime_ns < summary.stat().st_mtime_ns:
        write_report(folder)


def load_result(folder: str | Path) -> Result:
    """A finished run, read from its folder.

    Raises:
        RunError: there is no finished run.
    """
    folder = Path(folder)
    path = folder / "summary.json"
    if not path.exists():
        raise RunError(
            f"There is no finished run in {folder}.",
            "a run folder with summary.json",
            f"finish it with `leaven run --resume --out {folder}`, or check the path",
        )
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(
            f"{path} is damaged: {error}", "JSON", "run again into a new --out"
        ) from None
    model = load_model(folder / "model", nn.Module)
    names, labels, classes = _last_labels(folder, summary)
    return Result(model, labels, names, tuple(classes), summary["metrics"], summary, folder)


def _last_labels(folder: Path, summary: dict[str, Any]) -> tuple[list[str], Any, list[str]]:
    """Names, labels and classes of the last round; no labels of pairs of pictures."""
    store, task = LabelStore(folder / "labels"), summary["task"]
    if task == "translation":
        return [], None, summary["data"]["classes"]
    if task == "classification":
        names, labels, classes, _ = store.read()
        return names, labels, classes
    if task == "text-to-image":
        said = store.read_captions()
        return said.names, said.labels, summary["data"]["classes"]
    if task == "segmentation":
        maps = store.read_pixels()
        return maps.names, maps, maps.classes
    found = store.read_boxes()
    return found.names, found.labels, found.classes


def _agreed(config: RunConfig, find: Callable[[], R]) -> R:
    """What the first process finds; it tells the others."""
    processes, _ = find_processes(config.device)
    said = [find() if processes.is_main_process else None]
    if processes.num_processes > 1:
        broadcast_object_list(said)
    return cast("R", said[0])


def _work(
    config: RunConfig,
    method: Method,
    folder: Path,
    resume: bool,
    show: bool,
    progress: Callable[[int, int], None] | None,
    work: Work,
) -> None:
    """From the data to the report."""
    images = opened(config, method, progress)
    check_enough(config, images)
    begun, evidence, learnt = work.begun, None, images
    if begun is not None:
        said = said_in(folder, begun)
        evidence = taken(images, config.task, said, LabelStore(folder / "labels"))
        images = replace(evidence.data, notes=(*images.notes, *evidence.notes))
        learnt = evidence.to_train(images)
    for note in images.notes:
        log.warning("%s", note)
    log.info(_described(images))
    if method.needs_unlabelled and len(learnt.unlabelled) == 0:
        if begun is None:
            raise DataError(
                f"Every picture of {images.name} has a label; {config.method} needs unlabelled "
                "ones.",
                "some pictures without a label",
                f"add unlabelled pictures, hide labels with {_hiding(config.task)} for an "
                "experiment, or use --method supervised",
            )
        method = baseline_of(method)
        images = replace(images, notes=(*images.notes, ALL_CORRECTED.format(config.method)))

    if config.compare and len(images.labelled) == 0:
        raise DataError(
            f"No picture of {images.name} has a label, and the baseline learns from labels alone.",
            "some labels, or no comparison",
            "leave --compare out",
        )

    if work.new and begun is not None:
        _agreed(config, lambda: begin(folder, begun))
    backbone, about = None, None
    if config.features is not None:
        images, backbone, about = featured(config, folder, images, show)
    kind = STAGES[config.task]
    baseline = None
    alone = config.method == "supervised"
    if config.compare and alone:
        log.info("the method is the baseline itself: --compare adds nothing")
    if config.compare and not alone:
        under = folder / BASELINE
        start = Start.of(begun, evidence, folder, BASELINE)
        baseline = kind(baseline_of(method), images, config, under, resume, show, backbone, start)
    start = Start.of(begun, evidence, folder)
    stage = kind(method, images, config, folder, resume, show, backbone, start)
    if stage.trainer.is_main:
        found = {**_summary(config, images, stage, baseline), "features": about}
        found["corrections"] = about_corrections(folder, begun, evidence, found)
        text = json.dumps(found, indent=2, ensure_ascii=False)
        write_text(folder / SUMMARY, text + "\n")
        write_report(folder)
    stage.trainer.wait()


def _hiding(task: str) -> str:
    return "--labelled N" if task in TASKS else "--labels-per-class N"


def _summary(
    config: RunConfig, data: Data[Any], stage: Stage[Any], baseline: Stage[Any] | None
) -> dict[str, Any]:
    trainer = stage.trainer
    trainer.health.check(trainer.step, progress=1.0, final=True)
    findings = [
        {"level": finding.level, "code": finding.code, "text": finding.text}
        for finding in trainer.health.findings()
    ]
    findings += stage.findings
    notes = [("method", stage.note), *(("data", note) for note in data.notes)]
    if _has_tags(data):
        notes.append(
            ("data", "The classes that each picture shows are known: the method learns them.")
        )
    notes.append(("corrections", stage.start_note))
    findings += [{"level": "info", "code": code, "text": text} for code, text in notes if text]
    if stage.promise is not None:
        findings.insert(0, stage.promise.finding)
    return {
        "leaven": __version__,
        "task": config.task,
        "method": stage.method.card.name,
        "model": _model_name(stage.folder),
        "data": {
            "name": data.name,
            "items": len(data.train),
            "labelled": len(data.labelled),
            "unlabelled": len(data.unlabelled),
            "val": 0 if data.val is None else len(data.val),
            "test": 0 if data.test is None else len(data.test),
            "calibration": 0 if data.calibration is None else len(data.calibration),
            "classes": list(data.classes),
        },
        "metrics": stage.metrics,
        "per_class": stage.per_class,
        "reliability": stage.reliability,
        "measured_on": stage.measured_on,
        "baseline": None if baseline is None else baseline.metrics,
        "labels": stage.labels,
        "promise": None if stage.promise is None else stage.promise.summary,
        "steps": trainer.step,
        "seconds": round(stage.seconds, 2),
        "images_per_second": round(trainer.images_seen / max(1e-9, trainer.seconds), 1),
        "device": trainer.device.type,
        "precision": "bf16" if trainer.precision is torch.bfloat16 else "fp32",
        "seed": config.seed,
        "health": findings,
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "platform": platform.platform(),
            "processor": _processor(trainer.device),
            "threads": trainer.threads,
            "processes": trainer.world,
        },
    }


def _model_name(folder: Path) -> str:
    return str(json.loads((folder / "model" / "model.json").read_text())["spec"]["name"])


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _has_tags(data: Data[Any]) -> bool:
    labels = data.train.labels
    return isinstance(labels, PixelMaps) and labels.tags is not None


def _described(data: Data[Any]) -> str:
    test = "no test pictures" if data.test is None else f"{len(data.test)} test pictures"
    if isinstance(data.train.labels, PairedPictures):
        return f"{data.name}: {len(data.labelled)} pairs of pictures, {test}"
    if isinstance(data.train.labels, Captions):
        return f"{data.name}: {len(data.labelled)} pictures with captions, {test}"
    tags = " with tags" if _has_tags(data) else ""
    return (
        f"{data.name}: {len(data.labelled)} labelled and {len(data.unlabelled)} unlabelled pictures"
        f"{tags} of {len(data.classes)} classes, {test}"
    )
