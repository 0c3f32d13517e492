"""A method that learned a class for each pixel, measured and written."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from leaven.data import Data, ImageSet
from leaven.data.pixel_maps import PixelMaps
from leaven.job.looks import look
from leaven.job.promises import Asked, Promised, promised_pixels
from leaven.job.stage import ESTIMATED_BY, Stage, listed
from leaven.labels import PixelLabels
from leaven.methods import Fitted
from leaven.quality import ConfidenceBins
from leaven.report.dense_gallery import CHUNK, pixel_figures, write_pixel_gallery


class PixelStage(Stage[PixelMaps]):
    """See ``Stage``."""

    names: ClassVar[tuple[str, ...]] = (
        "miou", "pixel_accuracy", "mean_accuracy", "dice", "border_miou", "ece", "confidence",
    )  # fmt: skip
    judged: ConfidenceBins | None = None

    def measure(
        self, fitted: Fitted[Any, Any], held_out: ImageSet[PixelMaps]
    ) -> dict[str, float | None]:
        meter = self.trainer.judge(fitted.model, held_out)
        found = meter.metrics()
        self.per_class = {name: listed(values) for name, values in meter.per_class().items()}
        self.reliability = meter.bins.reliability().as_dict()
        self.judged = meter.bins
        self.trainer.health.calibration(found, self.trainer.step)
        return {name: found.get(name) for name in self.names}

    def promised(
        self,
        labels: PixelLabels,
        held: PixelLabels,
        items: ImageSet[PixelMaps],
        data: Data[PixelMaps],
        asked: Asked,
    ) -> tuple[PixelLabels, Promised]:
        return promised_pixels(labels, held, items, data.unlabelled.truth, data.classes, asked)

    def write_labels(self, fitted: Fitted[Any, Any]) -> dict[str, Any]:
        trainer, labels = self.trainer, fitted.labels.cpu()
        trainer.save_labels(trainer.last_round + 1, labels)
        unlabelled = self.data.unlabelled
        # All maps have one size and nothing beside a picture is accepted: means of means are means.
        figures = pixel_figures(labels, unlabelled.truth)
        weight = labels.accepted.float().mean((1, 2))
        estimated = estimated_accuracy(labels, self.judged)
        return {
            "items": len(labels),
            "accepted": int((weight > 0).sum()),
            "accepted_share": labels.accepted_share,
            "accuracy": _mean(figures.right, weight),
            "estimated_accuracy": estimated,
            "estimated_by": None if estimated is None else ESTIMATED_BY[self.judged is not None],
        }

    def write_gallery(self, fitted: Fitted[Any, Any]) -> None:
        unlabelled = self.trainer.data.unlabelled
        write_pixel_gallery(
            self.folder / "gallery.parquet",
            unlabelled.shown.batch,
            unlabelled.names,
            self.data.classes,
            fitted.labels.cpu(),
            unlabelled.truth,
            features=look(fitted.model, unlabelled.pixels).features,
        )


def estimated_accuracy(labels: PixelLabels, judged: ConfidenceBins | None) -> float | None:
    """The share of accepted pixels that is right: the mean of what their confidence is worth on the
    held-out pictures (``ConfidenceBins.worth``), or without these of the confidence itself; None of
    no pixel.
    """
    total, count = 0.0, 0
    for index in torch.arange(len(labels)).split(CHUNK):
        some = labels.select(index).cpu()
        confidence = some.confidence[some.accepted].double()
        worth = confidence if judged is None else judged.worth(confidence)
        total, count = total + float(worth.sum()), count + len(confidence)
    return total / count if count else None


def _mean(values: Tensor, weight: Tensor) -> float | None:
    """The weighted mean of what is known."""
    known = ~values.isnan() & (weight > 0)
    if not bool(known.any()):
        return None
    return float((values * weight)[known].sum() / weight[known].sum())
