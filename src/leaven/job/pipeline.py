"""``leaven.run``: data in, labels, model, summary and report out."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import nn

from leaven.data import Data
from leaven.errors import DataError, RunError
from leaven.job.config import RunConfig
from leaven.job.features import check_features, featured
from leaven.job.folder import abandon, prepare, write_text
from leaven.job.stage import Stage, baseline_of
from leaven.job.tasks import STAGES, check_task, opened
from leaven.labels import LabelStore
from leaven.methods import Method, find_method
from leaven.models import load_model
from leaven.report import write_report
from leaven.train.settings import find_processes
from leaven.version import __version__

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
        model: the fitted classifier, segmenter or detector, in eval mode.
        labels: what is believed about the training items, in the order of ``names``:
            ``ClassLabels``, a ``PixelRound``, or ``BoxLabels``, the latter two in the sizes of the
            pictures as they were found.
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


def run(
    data: str | Path | None = None,
    *,
    config: RunConfig | None = None,
    resume: bool = False,
    show: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Result:
    """Trains a method on data with few labels and writes a run folder.

    Args:
        data: an image folder, a Parquet file, ...; the embedded digits when None.
        config: all options at once, in place of ``data`` and ``options``.
        resume: go on with the run in ``out`` after a kill.
        show: draw progress bars.
        progress: called with (done, all) while pictures are read.
        options: the fields of ``RunConfig``, for example ``labels_per_class=4``.

    Raises:
        LeavenError: something that the user can put right; says what to do.
    """
    if config is None:
        config = RunConfig.make(**({} if data is None else {"data": str(data)}), **options)
    config = config.settled()
    method = find_method(config.method, config.task).configured(config.set)
    check_features(config, method)
    check_task(config)
    config, folder = _prepared(config, resume)
    if (folder / "summary.json").exists():
        log.info("%s is finished; nothing is left to do", folder)
        return load_result(folder)

    try:
        _work(config, method, folder, resume, show, progress)
    except BaseException:
        abandon(folder)
        raise
    return load_result(folder)


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
    names, labels, classes = _last_labels(folder, summary["task"])
    return Result(model, labels, names, tuple(classes), summary["metrics"], summary, folder)


def _last_labels(folder: Path, task: str) -> tuple[list[str], Any, list[str]]:
    """Names, labels and classes of the last round."""
    store = LabelStore(folder / "labels")
    if task == "classification":
        names, labels, classes, _ = store.read()
        return names, labels, classes
    if task == "segmentation":
        maps = store.read_pixels()
        return maps.names, maps, maps.classes
    found = store.read_boxes()
    return found.names, found.labels, found.classes


def _prepared(config: RunConfig, resume: bool) -> tuple[RunConfig, Path]:
    """The first process makes the folder and tells the others."""
    processes, _ = find_processes(config.device)
    said = [prepare(config, resume=resume) if processes.is_main_process else None]
    if processes.num_processes > 1:
        broadcast_object_list(said)
    assert said[0] is not None
    return said[0]


def _work(
    config: RunConfig,
    method: Method,
    folder: Path,
    resume: bool,
    show: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    """From the data to the report."""
    images = opened(config, method, progress)
    for note in images.notes:
        log.warning("%s", note)
    log.info(_described(images))
    if method.needs_unlabelled and len(images.unlabelled) == 0:
        raise DataError(
            f"Every picture of {images.name} has a label; {config.method} needs unlabelled ones.",
            "some pictures without a label",
            "add unlabelled pictures, hide labels with --labels-per-class N for an experiment, "
            "or use --method supervised",
        )

    if config.compare and len(images.labelled) == 0:
        raise DataError(
            f"No picture of {images.name} has a label, and the baseline learns from labels alone.",
            "some labels, or no comparison",
            "leave --compare out",
        )

    backbone, about = None, None
    if config.features is not None:
        images, backbone, about = featured(config, folder, images, show)
    kind = STAGES[config.task]
    baseline = None
    if config.compare and config.method != "supervised":
        under = folder / "baseline"
        baseline = kind(baseline_of(method), images, config, under, resume, show, backbone)
    stage = kind(method, images, config, folder, resume, show, backbone)
    if stage.trainer.is_main:
        summary = json.dumps(
            {**_summary(config, images, stage, baseline), "features": about},
            indent=2,
            ensure_ascii=False,
        )
        write_text(folder / "summary.json", summary + "\n")
        write_report(folder)
    stage.trainer.wait()


def _summary(
    config: RunConfig, data: Data[Any], stage: Stage[Any], baseline: Stage[Any] | None
) -> dict[str, Any]:
    trainer = stage.trainer
    trainer.health.check(trainer.step, progress=1.0, final=True)
    findings = [
        {"level": finding.level, "code": finding.code, "text": finding.text}
        for finding in trainer.health.findings()
    ]
    notes = [("method", stage.note), *(("data", note) for note in data.notes)]
    findings += [{"level": "info", "code": code, "text": text} for code, text in notes if text]
    return {
        "leaven": __version__,
        "task": config.task,
        "method": config.method,
        "model": _model_name(stage.folder),
        "data": {
            "name": data.name,
            "items": len(data.train),
            "labelled": len(data.labelled),
            "unlabelled": len(data.unlabelled),
            "val": 0 if data.val is None else len(data.val),
            "test": 0 if data.test is None else len(data.test),
            "classes": list(data.classes),
        },
        "metrics": stage.metrics,
        "per_class": stage.per_class,
        "reliability": stage.reliability,
        "measured_on": stage.measured_on,
        "baseline": None if baseline is None else baseline.metrics,
        "labels": stage.labels,
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


def _described(data: Data[Any]) -> str:
    test = "no test pictures" if data.test is None else f"{len(data.test)} test pictures"
    return (
        f"{data.name}: {len(data.labelled)} labelled and {len(data.unlabelled)} unlabelled pictures "
        f"of {len(data.classes)} classes, {test}"
    )
