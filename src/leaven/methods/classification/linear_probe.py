"""Logistic regression on the features of a frozen network."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from leaven.data import Data
from leaven.errors import ConfigError
from leaven.labels import ClassLabels
from leaven.methods.base import Card, Fitted, Method
from leaven.models.build import STACKED
from leaven.models.classifier import Classifier
from leaven.models.logistic import logistic_weights
from leaven.models.stacked import Stacked
from leaven.models.vectors import Centred
from leaven.propose import predict_features
from leaven.train import Trainer


class LinearProbe(Method):
    """A last layer on a trained network that stays as it is, as the authors of MSN (ECCV 2022) do it.

    With ``f`` the features of a picture, ``g = (f - mean f) / |f - mean f|`` (the mean is over the
    features of the one picture), the labelled pictures have the unique

        W = argmin  mean_i CE(W g_i, y_i) + strength / (2 n) |W|^2

    and no intercept. Nothing is drawn and nothing is augmented: the same labels give the same
    classifier, and the budget is not used. The network is what ``--model`` and ``--weights`` name;
    with ``--features`` the rows are what the backbone gives, each column standardised first.

    Raises:
        ConfigError: a network from random weights.
    """

    card: ClassVar[Card] = Card(
        name="linear-probe",
        title="Masked Siamese Networks for Label-Efficient Learning (its evaluation)",
        summary="Logistic regression on the features of a trained network that stays as it is.",
        task="classification",
        evidence="labels",
        year=2022,
        venue="ECCV",
        paper="https://arxiv.org/abs/2204.07141",
        code="https://github.com/facebookresearch/msn",
        parts=("models.logistic_weights", "propose.predict_features"),
        claim="ImageNet, a ViT trained without labels: 72.4 % top-1 with 5 labels per class.",
    )

    needs_unlabelled: ClassVar[bool] = False

    strength: float = Field(0.0025, gt=0, description="of the penalty on the weights")

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        network = trainer.model()
        untrained = trainer.settings.weights is None
        if untrained and next(network.encoder.parameters(), None) is not None:
            raise ConfigError(
                f"{self.card.name} trains a last layer alone, and {network.spec.name} starts from "
                "random weights.",
                "a trained network",
                "give --weights FILE (or --weights default for those of a library), or --features",
            )
        labelled = data.labelled
        _, features = predict_features(network, labelled.pixels)
        model = _probed(network, features.shape[1]).to(trainer.device).eval()
        rows = Centred((features.shape[1],))(features)
        weights = logistic_weights(rows, labelled.labels, len(data.classes), self.strength)
        with torch.no_grad():
            model.head.weight.copy_(weights)  # type: ignore[operator]
        probs = trainer.predict(model, data.unlabelled)
        return Fitted(model, ClassLabels.from_probs(probs, torch.ones(len(probs))))


def _probed(network: Classifier, width: int) -> Classifier:
    """The encoder of ``network`` with its features centred, under a head of zeros."""
    encoder: nn.Module = Centred((width,))
    name, options = "centred", {}
    if len(network.spec.shape) > 1:
        encoder = Stacked(network.encoder, encoder)
        name = f"{network.spec.name}{STACKED}{name}"
        options = {"backbone": network.spec.options, "head": {}}
    spec = replace(network.spec, name=name, options=options, head={})
    head = nn.Linear(width, network.num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model = Classifier(encoder, head, spec)
    model.precision = network.precision
    return model
