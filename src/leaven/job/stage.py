"""One method trained, measured and written into its folder."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic

import torch
from torch import Tensor

from leaven.data import Data
from leaven.data.calibration import with_calibration
from leaven.data.dataset import T
from leaven.job.config import RunConfig
from leaven.job.promises import Asked, Promised
from leaven.job.rounds import Start
from leaven.methods import Fitted, Method, find_method
from leaven.models import Backbone, save_model, stack
from leaven.train import trainer_of

log = logging.getLogger(__name__)


ESTIMATED_BY = ("confidence", "calibrated-confidence")
"""What the accuracy of pixels and boxes is estimated by, without and with held-out pictures."""


def baseline_of(method: Method) -> Method:
    """The supervised baseline of the task with the batch and the recipe of ``method``; its own batch
    where the method finds one for itself."""
    kind = find_method("supervised", method.card.task)
    names = (
        kind.model_fields.keys()
        & type(method).model_fields.keys()
        & {"batch", "recipe", "ema", "scale"}
    )
    said = {name: getattr(method, name) for name in names}
    return kind(**{name: value for name, value in said.items() if value is not None})


class Stage(ABC, Generic[T]):
    """One method trained, measured and written into its folder.

    On features, the model that is written has the ``backbone`` below it and takes pictures. A later
    round has a ``start``; ``data`` then have the labels that people gave until then.

    Attributes:
        trainer: of the task on the method's card.
        seconds: that the method took.
        note: what the method wants people to know.
        start_note: how a later round began; empty in the first.
        metrics: on the test items, or on val where there is no test; None without either.
        measured_on: "test" or "val".
        per_class: figures of each class, by name.
        reliability: a diagram as ``Reliability.as_dict`` gives it, or None.
        promise: what is promised of the labels, where that was asked for.
        labels: what is known about the labels.
        findings: about the labels, as ``level``, ``code`` and ``text``.
    """

    names: ClassVar[tuple[str, ...]]
    """Of the metrics."""

    def __init__(
        self,
        method: Method,
        data: Data[T],
        config: RunConfig,
        folder: Path,
        resume: bool,
        show: bool,
        backbone: Backbone | None = None,
        start: Start | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        log.info("training %s", method.card.name)
        self.method, self.data, self.folder, self.config = method, data, folder, config
        kind: Any = trainer_of(method.card.task)
        learnt, drawn = data, None
        if start is not None:
            learnt = start.evidence.to_train(data)
            drawn = start.evidence.drawn[~start.evidence.rejected]
        settings = config.settings(show=show)
        shown = with_calibration(learnt)
        if drawn is not None:
            held = torch.zeros(len(shown.train) - len(drawn), dtype=torch.bool)
            drawn = torch.cat([drawn, held])
        self.trainer = kind(shown, folder, settings, resume=resume, drawn=drawn)
        if start is not None:
            self.trainer.start_from(start.weights, start.first)
        began = time.monotonic()
        fitted = method.fit(self.trainer.data, self.trainer)
        self.promise: Promised | None = None
        if (asked := Asked.of(config)) is not None:
            fitted = self._keep_promise(fitted, learnt, asked, start)
        if shown is not data:
            self.trainer.data = data.to(self.trainer.device)
        if start is not None:
            fitted = start.evidence.completed(fitted, self.trainer, self.trainer.data)
            if asked is not None:
                fitted = start.evidence.refused(fitted, data)
        self.seconds = max(self.trainer.seconds, time.monotonic() - began)
        self.note = fitted.note
        self.start_note = "" if start is None else _begun(self.trainer.started)
        self.per_class: dict[str, list[float | None]] = {}
        self.reliability: dict[str, Any] | None = None
        self.findings: list[dict[str, str]] = []
        held_out = self.trainer.data.test or self.trainer.data.val
        self.measured_on = None if held_out is None else "test" if self.trainer.data.test else "val"
        if held_out is None:
            self.trainer.health.calibration(None, self.trainer.step)
            self.metrics: dict[str, float | None] = dict.fromkeys(self.names)
        else:
            self.metrics = self.measure(fitted, held_out)
            self.trainer.log(phase="end", **self.metrics)
        self.labels = self.write_labels(fitted)
        if self.trainer.is_main:
            model = fitted.model if backbone is None else stack(backbone, fitted.model)
            save_model(model, folder / "model", extra={"method": method.card.name})
            if self.pictured:
                self.write_gallery(fitted)
        self.trainer.journal.close()

    @property
    def pictured(self) -> bool:
        """Whether there is anything for ``write_gallery`` to show."""
        return len(self.data.unlabelled) > 0

    def _keep_promise(
        self, fitted: Fitted[Any, Any], learnt: Data[T], asked: Asked, start: Start | None
    ) -> Fitted[Any, Any]:
        """What was learned with the held-out items among the unlabelled ones, where they come last:
        without them, and with the labels that the promise keeps."""
        assert learnt.calibration is not None
        everything, count = torch.arange(len(fitted.labels)), len(learnt.unlabelled)
        said = fitted.labels.cpu()
        held, labels = said.select(everything[count:]), said.select(everything[:count])
        labels, found = self.promised(labels, held, learnt.calibration, learnt, asked)
        self.promise = found if start is None else found.after_corrections()
        return replace(fitted, labels=labels)

    @abstractmethod
    def promised(
        self, labels: Any, held: Any, items: Any, data: Data[T], asked: Asked
    ) -> tuple[Any, Promised]:
        """The labels of ``data.unlabelled`` that are kept, and what is promised of them, from those
        of the held-out ``items``."""

    @abstractmethod
    def measure(self, fitted: Fitted[Any, Any], held_out: Any) -> dict[str, float | None]:
        """Metrics on held-out items."""

    @abstractmethod
    def write_labels(self, fitted: Fitted[Any, Any]) -> dict[str, Any]:
        """The last round of labels, and what is known about them."""

    @abstractmethod
    def write_gallery(self, fitted: Fitted[Any, Any]) -> None:
        """The pictures of the report."""


def _begun(started: bool) -> str:
    if started:
        return (
            "The round began with the weights of the round before; optimiser, averages, thresholds "
            "and the budget began anew."
        )
    return (
        "The round began anew with the corrected labels: the method builds no network of the kind "
        "that the round before ended with, or one for features."
    )


def listed(values: Tensor) -> list[float | None]:
    """(K,) figures for JSON, None where there is none."""
    return [None if value != value else value for value in values.tolist()]
