"""``leaven.run``: data in, labels, model, summary and report out."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.data import Data, ImageSet, open_data
from leaven.errors import RunError
from leaven.job.config import RunConfig
from leaven.job.folder import prepare, write_text
from leaven.labels import ClassLabels, LabelStore
from leaven.methods import Fitted, Method, find_method
from leaven.methods.classification.supervised import Supervised
from leaven.models import load_model, save_model
from leaven.models.classifier import Classifier
from leaven.propose import predict_features
from leaven.quality import (
    classification_metrics,
    estimate_accuracy,
    fit_temperature,
)
from leaven.report import write_gallery, write_report
from leaven.train import Trainer
from leaven.version import __version__

log = logging.getLogger(__name__)

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "brier", "ece")


@dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
        model: the fitted classifier, in eval mode.
        labels: what is believed about the training items, in the order of ``names``.
        names: their stable names.
        classes: the class names.
        metrics: on the held-out items; values are None where there are none.
        summary: the content of ``summary.json``.
        folder: the run folder.
    """

    model: Classifier
    labels: ClassLabels
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
    method = find_method(config.method).configured(config.set)
    config, folder = prepare(config, resume=resume)
    if (folder / "summary.json").exists():
        log.info("%s is finished; nothing is left to do", folder)
        return load_result(folder)

    images = open_data(
        None if config.data == "digits" else config.data,
        labels=config.labels,
        labels_per_class=config.labels_per_class,
        image_size=config.image_size,
        seed=config.seed,
        test_share=config.test_share,
        val_share=config.val_share,
        flip=config.flip,
        max_unreadable=config.max_unreadable,
        progress=progress,
    )
    for note in images.notes:
        log.warning("%s", note)
    log.info(_described(images))

    baseline = None
    if config.compare and not isinstance(method, Supervised):
        baseline = _Stage(baseline_of(method), images, config, folder / "baseline", resume, show)
    stage = _Stage(method, images, config, folder, resume, show)
    summary = _summary(config, images, stage, baseline)
    write_text(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    if stage.trainer.is_main:
        write_report(folder)
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
        summary = json.loads(path.read_text())
    except ValueError as error:
        raise RunError(
            f"{path} is damaged: {error}", "JSON", "run again into a new --out"
        ) from None
    names, labels, classes, _ = LabelStore(folder / "labels").read()
    model = load_model(folder / "model")
    return Result(model, labels, list(names), tuple(classes), summary["metrics"], summary, folder)


def baseline_of(method: Method) -> Supervised:
    """The supervised baseline with the batch and the recipe of ``method``."""
    shared = {
        name: getattr(method, name)
        for name in ("batch", "recipe", "ema")
        if name in type(method).model_fields
    }
    return Supervised(**shared)


class _Stage:
    """One method trained, measured and written into its folder."""

    def __init__(
        self,
        method: Method,
        data: Data,
        config: RunConfig,
        folder: Path,
        resume: bool,
        show: bool,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        log.info("training %s", method.card.name)
        self.method, self.data, self.folder = method, data, folder
        self.trainer = Trainer(data, folder, config.settings(show=show), resume=resume)
        began = time.monotonic()
        fitted = method.fit(self.trainer.data, self.trainer)
        self.seconds = max(self.trainer.seconds, time.monotonic() - began)
        self.metrics = self._measure(fitted)
        self.labels = self._write_labels(fitted)
        if self.trainer.is_main:
            save_model(fitted.model, folder / "model", extra={"method": method.card.name})
            self._write_gallery(fitted)
        self.trainer.journal.close()

    def _measure(self, fitted: Fitted) -> dict[str, float | None]:
        """Metrics on the test items, or on val where there is no test; None without either."""
        trainer, held_out = self.trainer, self.trainer.data.test or self.trainer.data.val
        self.temperature = 1.0
        if held_out is None:
            trainer.health.calibration(None, trainer.step)
            return dict.fromkeys(METRICS)
        probs = trainer.predict(fitted.model, held_out)
        metrics = classification_metrics(probs, held_out.labels)
        trainer.log(phase="end", **metrics)
        trainer.health.calibration(metrics, trainer.step)
        if trainer.is_main:
            _write_test(self.folder / "test.parquet", held_out, probs)
        if self.trainer.data.val is not None:
            val = trainer.data.val
            assert val is not None
            log_probs = trainer.predict(fitted.model, val).clamp_min(1e-12).log()
            self.temperature = fit_temperature(log_probs, val.labels)
        return dict(metrics)

    def _write_labels(self, fitted: Fitted) -> dict[str, Any]:
        """The last round of labels, and what is known about them."""
        trainer, labels, truth = self.trainer, fitted.labels.cpu(), self.data.unlabelled.truth
        store = trainer.label_store
        if store is not None:
            rounds = store.rounds()
            trainer.save_labels(rounds[-1] + 1 if rounds else 0, labels)
        estimate = None
        if labels.probs is not None:
            estimate = estimate_accuracy(labels.probs, labels.weight, self.temperature)
        return {
            "items": len(labels),
            "accepted": int(labels.accepted.sum()),
            "accepted_share": labels.accepted_share,
            "accuracy": labels.accuracy(truth),
            "estimated_accuracy": estimate,
        }

    def _write_gallery(self, fitted: Fitted) -> None:
        unlabelled = self.trainer.data.unlabelled
        if len(unlabelled) == 0:
            return
        _, features = predict_features(fitted.model, unlabelled.pixels)
        write_gallery(
            self.folder / "gallery.parquet",
            unlabelled.pixels.batch,
            unlabelled.names,
            self.data.classes,
            fitted.labels.cpu(),
            unlabelled.truth,
            features=features,
        )


def _summary(
    config: RunConfig, data: Data, stage: _Stage, baseline: _Stage | None
) -> dict[str, Any]:
    trainer = stage.trainer
    trainer.health.check(trainer.step, progress=1.0, final=True)
    findings = [
        {"level": finding.level, "code": finding.code, "text": finding.text}
        for finding in trainer.health.findings()
    ]
    findings += [{"level": "info", "code": "data", "text": note} for note in data.notes]
    return {
        "leaven": __version__,
        "task": "classification",
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


def _described(data: Data) -> str:
    test = "no test pictures" if data.test is None else f"{len(data.test)} test pictures"
    return (
        f"{data.name}: {len(data.labelled)} labelled and {len(data.unlabelled)} unlabelled pictures "
        f"of {len(data.classes)} classes, {test}"
    )


def _write_test(path: Path, held_out: ImageSet, probs: Tensor) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from leaven.atomic import replacing

    flat = pa.array(probs.flatten().numpy(), type=pa.float32())
    table = pa.table(
        {
            "item": pa.array(list(held_out.names), type=pa.string()),
            "truth": pa.array(held_out.labels.numpy(), type=pa.int32()),
            "probs": pa.FixedSizeListArray.from_arrays(flat, probs.shape[1]),
        }
    )
    with replacing(path) as beside:
        pq.write_table(table, beside)
