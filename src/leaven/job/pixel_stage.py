"""A method that learned a class for each pixel, measured and written."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from leaven.data import Data, ImageSet
from leaven.data.pixel_maps import PixelMaps
from leaven.job.label_accuracy import LabelAccuracy, told_by
from leaven.job.looks import look
from leaven.job.promises import Asked, Promised, promised_pixels
from leaven.job.stage import ESTIMATED_BY, Stage, listed
from leaven.labels import PixelLabels
from leaven.methods import Fitted
from leaven.quality import ConfidenceBins, SegmentationMeter
from leaven.quality.accuracy import shift_of
from leaven.quality.segmentation import said_of_maps
from leaven.report.dense_gallery import CHUNK, pixel_figures, write_pixel_gallery


class PixelStage(Stage[PixelMaps]):
    """See ``Stage``."""

    names: ClassVar[tuple[str, ...]] = (
        "miou", "pixel_accuracy", "mean_accuracy", "dice", "border_miou", "ece", "confidence",
    )  # fmt: skip
    judged: SegmentationMeter | None = None

    def measure(
        self, fitted: Fitted[Any, Any], held_out: ImageSet[PixelMaps]
    ) -> dict[str, float | None]:
        meter = self.trainer.judge(fitted.model, held_out)
        found = meter.metrics()
        self.per_class = {name: listed(values) for name, values in meter.per_class().items()}
        self.reliability = meter.bins.reliability().as_dict()
        self.judged = meter
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
        estimate = pixel_accuracy(labels, self.judged)
        self.findings += estimate.findings
        return {
            "items": len(labels),
            "accepted": int((weight > 0).sum()),
            "accepted_share": labels.accepted_share,
            "accuracy": _mean(figures.right, weight),
            **estimate.as_dict(),
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


def pixel_accuracy(labels: PixelLabels, judged: SegmentationMeter | None) -> LabelAccuracy:
    """The share of accepted pixels that is right: the mean of what their confidence is worth on the
    held-out pictures (``ConfidenceBins.worth``), or without these of the confidence itself.

    Whether the pictures are like the held-out ones is told by how much of each picture is said to be
    of each class, and by its mean confidence.
    """
    bins = ConfidenceBins() if judged is None else judged.bins
    total, pictures, counts, said = 0.0, 0, torch.zeros(bins.bins, dtype=torch.int64), []
    for index in torch.arange(len(labels)).split(CHUNK):
        some = labels.select(index).cpu()
        confidence = some.confidence[some.accepted].double()
        pictures += int(some.accepted.any(2).any(1).sum())
        total += float(bins.worth(confidence).sum())
        counts += bins.histogram(confidence)
        if judged is not None:
            shown = None if some.extents is None else some.shown
            said.append(said_of_maps(some.classes, some.confidence, shown, judged.num_classes))
    count = int(counts.sum())
    shift = None
    if judged is not None and said and len(judged.said):
        shift = shift_of(judged.said, torch.cat(said))
    if count == 0:
        return LabelAccuracy(shift=shift)
    by = ESTIMATED_BY[judged is not None]
    return told_by(bins, counts, pictures, total / count, by, shift)


def _mean(values: Tensor, weight: Tensor) -> float | None:
    """The weighted mean of what is known."""
    known = ~values.isnan() & (weight > 0)
    if not bool(known.any()):
        return None
    return float((values * weight)[known].sum() / weight[known].sum())
