"""What the methods for labels that may be wrong share: what they believe of them in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.labels import ClassLabels
from leaven.methods.base import Fitted
from leaven.methods.classification.few_labels import FewLabels
from leaven.models.classifier import Classifier
from leaven.refine import mix_given
from leaven.train import Trainer


class NoisyLabels(FewLabels):
    """The fields and the last step of the family. All labels may be given: none has to be missing."""

    needs_unlabelled: ClassVar[bool] = False

    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights")

    def doubting(
        self, trainer: Trainer, model: Classifier, trust: Callable[[Tensor], Tensor | float]
    ) -> Fitted:
        """The model with its labels, and what is believed of the given ones.

        Of a given label ``y`` is believed ``w onehot(y) + (1 - w) p``, with ``p`` what the model
        says and ``w = trust(losses)`` from the losses (n,) of all given labels: those of the run,
        without what a method has put beside them.
        """
        given = trainer.data.labelled
        probs = trainer.predict(model, given)
        believed = mix_given(given.labels, probs, trust(item_losses(probs, given.labels)))
        fitted = self.fitted(trainer, model)
        return replace(fitted, given=ClassLabels.believed(given.labels, believed))


def item_losses(probs: Tensor, labels: Tensor) -> Tensor:
    """``-log p_i,label(i)`` (n,) of the distributions ``probs`` (n, K)."""
    said = probs.gather(1, labels.unsqueeze(1)).squeeze(1)
    return -said.clamp_min(torch.finfo(probs.dtype).tiny).log()
