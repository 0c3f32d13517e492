"""The engine with what detection adds: detectors, their metrics, boxes and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leaven.data import ImageSet
from leaven.labels import BoxLabels
from leaven.propose.boxes import predict_boxes
from leaven.quality import Health
from leaven.quality.detection import DetectionScores, detection_scores
from leaven.train.engine import Engine
from leaven.train.found import found_rows

if TYPE_CHECKING:
    from leaven.models.detection import Detector


class BoxTrainer(Engine[BoxLabels]):
    """Services for one run of one method that learns boxes, or masks in them; see ``Engine``."""

    @property
    def masks(self) -> bool:
        """Whether the labels have masks."""
        return self.data.labelled.labels.masks is not None

    def count_classes(self) -> Tensor:
        """(K,) labelled things of each class, groups left out."""
        labels = self.data.labelled.labels
        things = labels.classes[~labels.crowd].cpu()
        return torch.bincount(things, minlength=len(self.data.classes)).float()

    def watch(self, prior: Tensor | None) -> Health:
        labelled = self.data.labelled.labels
        return Health(
            len(self.data.classes),
            prior=prior,
            class_names=self.data.classes,
            boxes_per_picture=int((~labelled.crowd).sum()) / max(1, len(labelled)),
        )

    def model(self) -> Detector:
        """A fresh detector for the data, on the device; with masks where the labels have some."""
        from leaven.models.detection import build_detector

        settings = self.settings
        default = "maskrcnn-small" if self.masks else "rcnn-small"
        return self.built(
            lambda mean, std: build_detector(
                default if settings.model == "auto" else settings.model,
                self.data.classes,
                self.data.shape,
                mean=mean,
                std=std,
                weights=settings.weights,
                options=settings.options,
            )
        )

    def predict(self, model: Detector, images: ImageSet[BoxLabels]) -> BoxLabels:
        """What ``model`` finds in the pictures, on the CPU, in eval mode."""
        return predict_boxes(model, images.pixels).cpu()

    def measure(self, model: Detector, images: ImageSet[BoxLabels] | None) -> dict[str, float]:
        """COCO's figures of ``model`` on labelled pictures; empty without a thing to find."""
        scores = self.judge(model, images)
        return {} if scores is None else scores.metrics()

    def judge(self, model: Detector, images: ImageSet[BoxLabels] | None) -> DetectionScores | None:
        """What ``model`` finds beside what is there; None where there is nothing to find."""
        if images is None or bool(images.labels.crowd.all()):
            return None
        truth = images.labels.cpu()
        found = self.predict(model, images)
        return detection_scores(found, truth, len(self.data.classes), masks=self.masks)

    def label(
        self, model: Detector, images: ImageSet[BoxLabels], threshold: float = 0.0
    ) -> BoxLabels:
        """What ``model`` finds, trusted where its score reaches ``threshold``."""
        found = self.predict(model, images)
        return found.with_weight((found.confidence >= threshold).float())

    def save_labels(self, number: int, labels: BoxLabels) -> None:
        """Writes round ``number``: the labels people gave, and ``labels`` of ``data.unlabelled``."""
        self.last_round = number
        if self.label_store is None or self.replaying:
            return
        rows, sizes = found_rows(self.data.train, labels)
        names = list(self.data.train.names)
        self.label_store.write_boxes(number, names, rows, sizes, self.data.classes)
