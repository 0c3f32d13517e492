"""What the methods that learn a classifier from a few labels share."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from leaven.labels import ClassLabels
from leaven.methods.base import Fitted, Method
from leaven.models import Headed
from leaven.models.classifier import Classifier
from leaven.select.thresholds import fixed_threshold
from leaven.train import Recipe, Trainer


class FewLabels(Method):
    """The fields and the last step of the family."""

    batch: int = Field(64, ge=1, description="labelled pictures per step")
    recipe: Recipe = Field(default_factory=Recipe, description="how weights are moved")

    def fitted(self, trainer: Trainer, model: nn.Module, threshold: float = 0.0) -> Fitted:
        """The model with its labels of the unlabelled items; those under ``threshold`` are not
        accepted (weight 0)."""
        assert isinstance(model, Classifier)
        probs = trainer.predict(model, trainer.data.unlabelled)
        weight = fixed_threshold(probs.max(1).values, threshold)
        return Fitted(model.eval(), ClassLabels.from_probs(probs, weight))


class OnlineFewLabels(FewLabels):
    """Fields of the methods with a weak and a strong view in every step and an EMA teacher."""

    ratio: int = Field(7, ge=1, description="unlabelled pictures per labelled picture in a step")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights")


class HeadedFewLabels(OnlineFewLabels):
    """Those of them whose network may have further heads beside its classifier."""

    def heads(self, classifier: Classifier, generator: torch.Generator) -> dict[str, nn.Module]:
        """Further heads on the features, by name; none by default."""
        return {}

    def network(self, trainer: Trainer) -> Headed:
        """A fresh classifier with its further heads, on the device."""
        classifier = trainer.model()
        # Not from the draws: a method with heads sees the same views as the one without.
        generator = torch.Generator().manual_seed(trainer.settings.seed)
        return Headed(classifier, self.heads(classifier, generator)).to(trainer.device)
