"""A method that learned boxes, or boxes with masks, measured and written."""

from __future__ import annotations

from typing import Any, ClassVar

from leaven.data import Data, ImageSet
from leaven.data.placement import contents
from leaven.job.label_accuracy import LabelAccuracy, told_by
from leaven.job.looks import look
from leaven.job.promises import Asked, Promised, promised_boxes
from leaven.job.stage import ESTIMATED_BY, Stage, listed
from leaven.labels import BoxLabels
from leaven.methods import Fitted
from leaven.quality import ConfidenceBins
from leaven.quality.accuracy import shift_of
from leaven.quality.detection import match_boxes, said_of_boxes
from leaven.report.dense_gallery import write_box_gallery
from leaven.train.box_trainer import CLEAR, Judged


class BoxStage(Stage[BoxLabels]):
    """See ``Stage``."""

    judged: Judged | None = None
    names: ClassVar[tuple[str, ...]] = ("map", "map50", "map75", "ar100", "ece", "confidence")

    def measure(
        self, fitted: Fitted[Any, Any], held_out: ImageSet[BoxLabels]
    ) -> dict[str, float | None]:
        judged = self.trainer.judge(fitted.model, held_out)
        if judged is None:
            return dict.fromkeys(self.names)
        self.per_class = {name: listed(values) for name, values in judged.per_class().items()}
        found, seen = judged.metrics(), {}
        if judged.bins.total:
            self.judged = judged
            self.reliability = judged.bins.reliability().as_dict()
            seen = {"accuracy": judged.bins.accuracy}
        self.trainer.health.calibration({**found, **seen}, self.trainer.step)
        return {name: found.get(name) for name in self.names}

    def promised(
        self,
        labels: BoxLabels,
        held: BoxLabels,
        items: ImageSet[BoxLabels],
        data: Data[BoxLabels],
        asked: Asked,
    ) -> tuple[BoxLabels, Promised]:
        truth = data.unlabelled.truth.cpu()
        masks = self.trainer.masks
        return promised_boxes(labels, held, items, truth, data.classes, asked, masks)

    def write_labels(self, fitted: Fitted[Any, Any]) -> dict[str, Any]:
        """``accuracy`` is the precision of the accepted boxes at an IoU of 0.5."""
        trainer, labels = self.trainer, fitted.labels.cpu()
        trainer.save_labels(trainer.last_round + 1, labels)
        accepted = labels.keep(labels.accepted)
        estimate = self.estimate(labels)
        self.findings += estimate.findings
        truth = self.data.unlabelled.truth.cpu()
        judged = {}
        if bool(truth.known.any()):
            matches = match_boxes(accepted, truth, len(self.data.classes), masks=trainer.masks)
            judged = {name: v for name, v in matches.metrics().items() if v == v}
        return {
            "items": len(labels),
            "boxes": len(labels.boxes),
            "accepted": len(accepted.boxes),
            "accepted_share": labels.accepted_share,
            "accuracy": judged.get("precision"),
            "recall": judged.get("recall"),
            "mean_iou": judged.get("mean_iou"),
            **estimate.as_dict(),
        }

    def estimate(self, labels: BoxLabels) -> LabelAccuracy:
        """What the confidence of the accepted boxes is worth on the held-out pictures
        (``ConfidenceBins.worth``), in the mean, or without these the confidence itself.

        Whether the pictures are like the held-out ones is told by how many things of each class are
        found in each picture, and by their mean confidence.
        """
        judged, confidence = self.judged, labels.confidence[labels.accepted]
        bins, shift = ConfidenceBins() if judged is None else judged.bins, None
        if judged is not None and len(labels):
            shift = shift_of(judged.said, said_of_boxes(labels, len(self.data.classes), CLEAR))
        if len(confidence) == 0:
            return LabelAccuracy(shift=shift)
        accuracy = float(bins.worth(confidence).mean())
        by = ESTIMATED_BY[judged is not None]
        pictures = len(labels.pictures[labels.accepted].unique())
        return told_by(bins, bins.histogram(confidence), pictures, accuracy, by, shift)

    def write_gallery(self, fitted: Fitted[Any, Any]) -> None:
        unlabelled = self.trainer.data.unlabelled
        _, height, width = unlabelled.shown.shape
        sizes = unlabelled.sizes
        write_box_gallery(
            self.folder / "gallery.parquet",
            unlabelled.shown.batch,
            unlabelled.names,
            self.data.classes,
            fitted.labels.cpu(),
            unlabelled.truth,
            features=look(fitted.model, unlabelled.pixels).features,
            extents=None if sizes is None else contents(sizes, (height, width)),
        )


class MaskStage(BoxStage):
    """Boxes with masks: also the figures of the map of things."""

    names: ClassVar[tuple[str, ...]] = (*BoxStage.names, "aji", "pq", "dice")
