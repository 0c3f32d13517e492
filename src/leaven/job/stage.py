"""One method trained, measured and written into its folder."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic

from torch import Tensor

from leaven.data import Data
from leaven.data.dataset import T
from leaven.job.config import RunConfig
from leaven.methods import Fitted, Method, find_method
from leaven.models import Backbone, save_model, stack
from leaven.train import trainer_of

log = logging.getLogger(__name__)


def baseline_of(method: Method) -> Method:
    """The supervised baseline of the task with the batch and the recipe of ``method``."""
    kind = find_method("supervised", method.card.task)
    shared = {
        name: getattr(method, name)
        for name in ("batch", "recipe", "ema", "scale")
        if name in type(method).model_fields and name in kind.model_fields
    }
    return kind(**shared)


class Stage(ABC, Generic[T]):
    """One method trained, measured and written into its folder.

    On features, the model that is written has the ``backbone`` below it and takes pictures.

    Attributes:
        trainer: of the task on the method's card.
        seconds: that the method took.
        note: what the method wants people to know.
        metrics: on the test items, or on val where there is no test; None without either.
        measured_on: "test" or "val".
        per_class: figures of each class, by name.
        reliability: a diagram as ``Reliability.as_dict`` gives it, or None.
        labels: what is known about the labels.
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
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        log.info("training %s", method.card.name)
        self.method, self.data, self.folder = method, data, folder
        kind: Any = trainer_of(method.card.task)
        self.trainer = kind(data, folder, config.settings(show=show), resume=resume)
        began = time.monotonic()
        fitted = method.fit(self.trainer.data, self.trainer)
        self.seconds = max(self.trainer.seconds, time.monotonic() - began)
        self.note = fitted.note
        self.per_class: dict[str, list[float | None]] = {}
        self.reliability: dict[str, Any] | None = None
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
            if len(self.data.unlabelled):
                self.write_gallery(fitted)
        self.trainer.journal.close()

    @abstractmethod
    def measure(self, fitted: Fitted[Any, Any], held_out: Any) -> dict[str, float | None]:
        """Metrics on held-out items."""

    @abstractmethod
    def write_labels(self, fitted: Fitted[Any, Any]) -> dict[str, Any]:
        """The last round of labels, and what is known about them."""

    @abstractmethod
    def write_gallery(self, fitted: Fitted[Any, Any]) -> None:
        """The pictures of the report."""


def listed(values: Tensor) -> list[float | None]:
    """(K,) figures for JSON, None where there is none."""
    return [None if value != value else value for value in values.tolist()]
