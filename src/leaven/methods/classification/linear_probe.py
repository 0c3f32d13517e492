"""Logistic regression on the features of a frozen network."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from leaven.data import Data
from leaven.labels import ClassLabels
from leaven.methods.base import Card, Fitted, Method
from leaven.models import Classifier, build_model, logistic_weights, stack
from leaven.propose import predict_features
from leaven.train import Trainer

CENTRED = "centred"
"""The net of features less their mean, divided by their length; see ``models.build_model``."""


class LinearProbe(Method):
    """A last layer on a trained network that stays as it is, as the authors of MSN (ECCV 2022) do it.

    With ``f`` the features of a picture, ``g = (f - mean f) / |f - mean f|`` (the mean is over the
    features of the one picture), the labelled pictures have the unique

        W = argmin  mean_i CE(W g_i, y_i) + strength / (2 n) |W|^2

    and no intercept. Nothing is drawn and nothing is augmented: the same labels give the same
    classifier, and the budget is not used. The network is what ``--model`` and ``--weights`` name;
    with ``--features`` the rows are what the backbone gives, each column standardised first.

    Pictures are normalised as the network was trained.

    Raises:
        ModelError: a network of leaven without a file of its weights.
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
        measured="Digits, 2 labels per class, a small net that learnt their looks without labels in "
        "seconds: 80.1 % (5 seeds).",
    )

    needs_unlabelled: ClassVar[bool] = False

    strength: float = Field(0.0025, gt=0, description="of the penalty on the weights")

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        model = self._centred(data, trainer).eval()
        labelled = data.labelled
        _, rows = predict_features(model, labelled.pixels)
        weights = logistic_weights(rows, labelled.labels, len(data.classes), self.strength)
        with torch.no_grad():
            model.head.weight.copy_(weights)  # type: ignore[operator]
            model.head.bias.zero_()  # type: ignore[operator]
        probs = trainer.predict(model, data.unlabelled)
        return Fitted(model, ClassLabels.from_probs(probs, torch.ones(len(probs))))

    def _centred(self, data: Data, trainer: Trainer) -> Classifier:
        """A classifier whose features are ``g``."""
        if not data.has_views:
            return trainer.built(
                lambda mean, std: build_model(CENTRED, data.classes, data.shape, mean=mean, std=std)
            )
        backbone = trainer.backbone()
        width = backbone.num_features
        rows = build_model(CENTRED, data.classes, (width,), mean=[0.0] * width, std=[1.0] * width)
        return trainer.placed(stack(backbone, rows))
