"""SAW: losses weighted by how difficult each class is, judged by how rarely it is proposed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.learn import cross_entropy, effective_weights
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Plugin, Step
from leaven.refine import LatestProposals
from leaven.train import Trainer


class SAW(Plugin):
    """SAW (Lai et al., ICML 2022): a plug-in that weighs the losses of the base class by class.

    With ``m_k`` how many unlabelled items were last proposed to be of class k, trusted or not, and
    ``n_k`` labels of class k::

        weight(c)_k  = (1 - b) / (1 - b^(c_k)),  b = (N - 1) / N,  N = mean c,  scaled to mean 1
        supervised   = mean_x weight(n)_y CE(x, y)
        unlabelled   = mean_u weight(m)_t w_u CE(strong(u), t)

    with the trust ``w_u`` and the class ``t`` of the base's labels. ``weight(m)`` is 1 at first and
    set anew every ``every`` steps, an epoch: 500 in the released code, here a pass over the unlabelled
    items. Nothing is assumed about how the unlabelled items are spread.

    Items that were not yet drawn do not count in ``m``; in the released code they count as class 0.
    The supervised loss of a base is replaced by the one above.
    """

    card: ClassVar[Card] = Card(
        name="saw",
        title="Smoothed Adaptive Weighting for Imbalanced Semi-Supervised Learning",
        summary="Labels of rarely proposed classes weigh more, smoothed by effective numbers.",
        task="classification",
        evidence="few labels, unequally spread",
        year=2022,
        venue="ICML",
        paper="https://proceedings.mlr.press/v162/lai22b.html",
        code="https://github.com/ZJUJeffLai/SAW_SSL",
        parts=(
            "refine.LatestProposals",
            "learn.effective_weights",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="More reliable than FixMatch where the spread of the unlabelled items is unknown, on "
        "CIFAR-10, CIFAR-100, STL-10 and pathology slides.",
        measured="CIFAR-10 at 16x16 as a long tail, 3 seeds, balanced accuracy against FixMatch: "
        "unlabelled tail like the labelled one +2.0 points, reversed +3.0.",
    )

    every: int | None = Field(
        None,
        ge=1,
        description="steps between two settings of the weights; a pass over the unlabelled items when "
        "not set",
    )
    weigh_labelled: bool = Field(True, description="weigh the supervised loss too, by the labels")

    def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
        classes = len(data.classes)
        latest = LatestProposals(len(data.unlabelled), classes, trainer.gather)
        return {**super().parts(data, trainer), "latest": latest, "weights": _Weights(classes)}

    def refine(self, step: Step, probs: Tensor) -> Tensor:
        probs = super().refine(step, probs)
        latest, weights = step.part("latest", LatestProposals), step.part("weights", _Weights)
        if step.batch.step > 0 and step.batch.step % (self.every or step.per_pass) == 0:
            weights.values.copy_(effective_weights(latest.counts()))
        latest.update(step.items, probs)
        return probs

    def learn(self, step: Step) -> dict[str, Tensor]:
        classes = step.target if step.target.ndim == 1 else step.target.argmax(1)
        weight = step.weight * step.part("weights", _Weights).values[classes]
        losses = super().learn(replace(step, weight=weight))
        if self.weigh_labelled:
            own = effective_weights(step.trainer.prior * len(step.data.labelled))[step.targets]
            losses["supervised"] = cross_entropy(step.seen["labelled"].logits, step.targets, own)
        return losses

    def notes(self, step: Step) -> dict[str, Any]:
        weights = step.part("weights", _Weights).values
        return super().notes(step) | {
            "lowest_weight": weights.min(),
            "highest_weight": weights.max(),
        }


class _Weights(nn.Module):
    """The weight of each class in the unlabelled loss."""

    values: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.ones(num_classes))
