"""The engine with what classification adds: classifiers, their metrics, a class per item."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from leaven.data import ImageSet
from leaven.labels import ClassLabels, Source
from leaven.models import (
    Backbone,
    build_model,
    default_model,
    load_backbone,
    trained_classifier,
)
from leaven.models.classifier import Classifier
from leaven.propose import predict
from leaven.quality import classification_metrics
from leaven.train.engine import Engine


class Trainer(Engine[Tensor]):
    """Services for one run of one method that learns a class for each picture; see ``Engine``."""

    def count_classes(self) -> Tensor:
        labels = self.drawn.labels.cpu()
        return torch.bincount(labels, minlength=len(self.data.classes)).float()

    def model(self, *, dropout: float = 0.0) -> Classifier:
        """A fresh classifier for the data, on the device; every call draws new first weights."""
        settings, data = self.settings, self.data
        return self.built(
            lambda mean, std: build_model(
                self._model_name,
                data.classes,
                data.shape,
                mean=mean,
                std=std,
                dropout=dropout,
                weights=settings.weights,
                options=settings.options,
            )
        )

    def trained(self) -> Classifier:
        """The classifier that the settings name, as it was trained before: with its own head and
        its own normalisation of pictures, on the device, in evaluation mode.

        Raises:
            ModelError: it was not trained, or for other classes or pictures.
        """
        model = trained_classifier(
            self._model_name,
            self.data.classes,
            self.data.shape,
            weights=self.settings.weights,
            options=self.settings.options,
        )
        return self.placed(model).eval()

    def backbone(self) -> Backbone:
        """What stands under the head of the network that the settings name, as it was trained
        before, frozen, on the CPU; see ``models.load_backbone``.

        Raises:
            ModelError: it was not trained, or for other pictures.
        """
        return load_backbone(
            self._model_name,
            self.data.shape,
            weights=self.settings.weights,
            options=self.settings.options,
        )

    def predict(self, model: nn.Module, images: ImageSet) -> Tensor:
        """(n, K) float32 probabilities on the CPU, in eval mode, without augmentation."""
        probs = predict(model, images.pixels)
        lost = ~probs.isfinite().all(1)
        if bool(lost.any()):
            self.health.lost(int(lost.sum()), len(lost), self.step)
            probs[lost] = 1 / probs.shape[1]
        return probs

    def measure(self, model: nn.Module, images: ImageSet | None) -> dict[str, float]:
        """The metrics of ``model`` on labelled items; empty without items."""
        if images is None or len(images) == 0:
            return {}
        return classification_metrics(self.predict(model, images), images.labels)

    def save_labels(
        self, number: int, labels: ClassLabels, given: ClassLabels | None = None
    ) -> None:
        """Writes round ``number``: the labels that were given, and ``labels`` of ``data.unlabelled``.

        ``given`` stands in for the labels that were given, where a method doubts them.
        """
        self.last_round = number
        if self.label_store is None or self.replaying:
            return
        train = self.data.train
        merged = ClassLabels.from_person(train.labels)
        if train.model_confidence is not None:
            confidence = torch.where(train.by_model, train.model_confidence, merged.confidence)
            merged = replace(merged, confidence=confidence)
        if given is not None:
            merged = merged.filled(given.cpu(), rows=train.known)
        source = torch.where(train.by_model, int(Source.MODEL), merged.source)
        merged = replace(merged, source=source)
        merged = merged.filled(labels.cpu())
        self.label_store.write(
            self.first_round + number, train.names, merged, self.data.classes, truth=train.truth
        )

    @property
    def _model_name(self) -> str:
        name = self.settings.model
        return default_model(self.data.shape) if name == "auto" else name
