"""The engine with what detection adds: detectors, their metrics, boxes and masks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from leaven.data import ImageSet
from leaven.draws import Draws
from leaven.labels import BoxLabels
from leaven.propose.boxes import predict_boxes
from leaven.quality import Health
from leaven.quality.confidence import ConfidenceBins
from leaven.quality.detection import (
    DetectionScores,
    detection_scores,
    match_boxes,
    said_of_boxes,
)
from leaven.quality.instances import InstanceMeter
from leaven.train.engine import Engine
from leaven.train.found import found_rows

if TYPE_CHECKING:
    from leaven.models.detection import Detector


CLEAR = 0.5
"""Score from which a mask is one of a map of things, where each pixel is of one thing at most."""


@dataclass(frozen=True)
class Judged:
    """What a detector finds beside what is there.

    Attributes:
        scores: COCO's figures, of masks where there are some.
        bins: the scores beside the share that is right at an IoU of 0.5.
        said: (n, K + 1), ``said_of_boxes`` of the pictures.
        things: of the map of the masks with a score of ``CLEAR`` or more; None where there are
            boxes alone.
    """

    scores: DetectionScores
    bins: ConfidenceBins
    said: Tensor
    things: InstanceMeter | None = None

    def metrics(self) -> dict[str, float]:
        """COCO's figures, ``ece`` and mean ``confidence`` of what is found, and of masks ``pq``,
        ``sq``, ``rq``, ``f1``, ``aji`` and ``dice``."""
        found = self.scores.metrics()
        if self.bins.total:
            found |= {"ece": self.bins.reliability().error, "confidence": self.bins.confidence}
        return found | ({} if self.things is None else self.things.metrics())

    def per_class(self) -> dict[str, Tensor]:
        """By name, a figure per class (K,) float64."""
        things = {} if self.things is None else self.things.per_class()
        return {**self.scores.per_class(), **things}


class BoxTrainer(Engine[BoxLabels]):
    """Services for one run of one method that learns boxes, or masks in them; see ``Engine``."""

    looked_at: ClassVar[int | None] = 64

    @property
    def masks(self) -> bool:
        """Whether the labels have masks."""
        return self.data.labelled.labels.masks is not None

    def count_classes(self) -> Tensor:
        """(K,) labelled things of each class, groups left out."""
        labels = self.drawn.labels
        things = labels.classes[~labels.crowd].cpu()
        return torch.bincount(things, minlength=len(self.data.classes)).float()

    def watch(self, prior: Tensor | None) -> Health:
        labelled = self.drawn.labels
        return Health(
            len(self.data.classes),
            prior=prior,
            class_names=self.data.classes,
            boxes_per_picture=int((~labelled.crowd).sum()) / max(1, len(labelled)),
        )

    def model(self, **options: Any) -> Detector:
        """A fresh detector for the data, on the device; with masks where the labels have some.

        ``options`` of the model that a method needs go before those of the settings.
        """
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
                options={**settings.options, **options},
            )
        )

    def trial(self, model: nn.Module) -> Callable[[], None]:
        """A training step of a copy of a detector on a few labelled pictures, to be timed."""
        from leaven.models.detection import Detector

        if not isinstance(model, Detector):
            return super().trial(model)
        labelled = self.data.labelled
        index = torch.arange(min(4, len(labelled)))
        images, targets = labelled.pixels.batch(index), labelled.labels.select(index)
        twin = copy.deepcopy(model).train()

        def step() -> None:
            torch.stack(list(twin.losses(images, targets, Draws(0)).values())).sum().backward()

        return step

    def predict(self, model: Detector, images: ImageSet[BoxLabels]) -> BoxLabels:
        """What ``model`` finds in the pictures, on the CPU, in eval mode."""
        return predict_boxes(model, images.pixels).cpu()

    def measure(self, model: Detector, images: ImageSet[BoxLabels] | None) -> dict[str, float]:
        """The figures of ``model`` on labelled pictures (``Judged``); empty without a thing to find."""
        judged = self.judge(model, images)
        return {} if judged is None else judged.metrics()

    def judge(self, model: Detector, images: ImageSet[BoxLabels] | None) -> Judged | None:
        """What ``model`` finds beside what is there; None where there is nothing to find."""
        if images is None or bool(images.labels.crowd.all()):
            return None
        truth = images.labels.cpu()
        found = self.predict(model, images)
        scores = detection_scores(found, truth, len(self.data.classes), masks=self.masks)
        matches = match_boxes(found, truth, len(self.data.classes), masks=self.masks)
        bins = ConfidenceBins()
        bins.add(found.confidence, matches.right, matches.judged, found.pictures)
        said = said_of_boxes(found, len(self.data.classes), CLEAR)
        if not self.masks:
            return Judged(scores, bins, said)
        things = InstanceMeter(len(self.data.classes))
        things.add_labels(found.keep(found.confidence >= CLEAR), truth)
        return Judged(scores, bins, said, things)

    def label(
        self, model: Detector, images: ImageSet[BoxLabels], threshold: float = 0.0
    ) -> BoxLabels:
        """What ``model`` finds, trusted where its score reaches ``threshold``."""
        found = self.predict(model, images)
        return found.with_weight((found.confidence >= threshold).float())

    def save_labels(self, number: int, labels: BoxLabels, given: BoxLabels | None = None) -> None:
        """Writes round ``number``: the labels people gave, and ``labels`` of ``data.unlabelled``.

        Args:
            given: of all of ``data.train``; in place of what people gave, where a method adds to it.
        """
        self.last_round = number
        if self.label_store is None or self.replaying:
            return
        rows, sizes = found_rows(self.data.train, labels, given)
        names = list(self.data.train.names)
        self.label_store.write_boxes(
            self.first_round + number, names, rows, sizes, self.data.classes
        )
