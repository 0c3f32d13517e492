"""FreeMatch: FixMatch with thresholds that the model sets itself, and fairness over classes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator
from torch import Tensor, nn

from leaven.data import Data
from leaven.learn import fairness_loss
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Step, WeakStrong
from leaven.select import AdaptiveThresholds
from leaven.train import Trainer

Share = Annotated[float, Field(ge=0, le=1)]


class FreeMatch(WeakStrong):
    """FreeMatch (Wang et al., ICLR 2023): FixMatch with another ``select`` and one loss more.

    The threshold of a class is ``mean(c) / max_j mean(j) * level``, with moving averages of the
    mean output and of the mean confidence: where FlexMatch counts items above a chosen threshold,
    nothing is chosen or counted here. ``fairness_weight * fairness_loss`` on the trusted strong
    views pushes their mean output from the usual one. With several processes its batch means are
    those of one process.

    The paper's weight of that loss is 0.01 for the fewest labels and 0.05 elsewhere; the settings
    of USB for CIFAR-10 say 0.001. On SVHN the paper keeps the thresholds in [0.9, 0.95]
    (``bounds``); USB keeps the level at 0.95 or less there.
    """

    card: ClassVar[Card] = Card(
        name="freematch",
        title="FreeMatch: Self-adaptive Thresholding for Semi-supervised Learning",
        summary="FixMatch with global and class thresholds read off the model's own confidence.",
        task="classification",
        evidence="few labels",
        year=2023,
        venue="ICLR",
        paper="https://arxiv.org/abs/2205.07246",
        code="https://github.com/microsoft/Semi-supervised-learning",
        parts=(
            "select.AdaptiveThresholds",
            "learn.fairness_loss",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="CIFAR-10, WRN-28-2: 91.9 % with 10 labels, 95.1 % with 40, 95.1 % with 250.",
        measured="Digits, 4 labels per class, 600 steps, seeds 0 to 2: 96.1 % against 86.8 % of the "
        "labels alone and 95.2 % of FixMatch.",
    )

    threshold: float = Field(
        0.95, ge=0, le=1, description="confidence from which labels are accepted at the end"
    )
    momentum: float = Field(0.999, ge=0, lt=1, description="of the three moving averages")
    fairness_weight: float = Field(0.01, ge=0, description="weight of the fairness loss")
    bounds: tuple[Share, Share] | None = Field(
        None, description="least and largest threshold of a class; none when not set"
    )

    @field_validator("bounds")
    @classmethod
    def _in_order(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and bounds[0] > bounds[1]:
            raise ValueError("the least threshold comes first")
        return bounds

    def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
        classes = len(data.classes)
        return {"select": AdaptiveThresholds(classes, self.momentum, trainer.mean, self.bounds)}

    def select(self, step: Step, probs: Tensor) -> Tensor:
        return step.part("select", AdaptiveThresholds)(probs)

    def learn(self, step: Step) -> dict[str, Tensor]:
        if self.fairness_weight == 0:  # a loss of zero at every step would be taken for a fault
            return super().learn(step)
        usual = step.part("select", AdaptiveThresholds)
        fairness = fairness_loss(
            step.seen["strong"].logits, step.weight, usual.mean, usual.histogram
        )
        return super().learn(step) | {"fairness": self.fairness_weight * fairness}

    def notes(self, step: Step) -> dict[str, Any]:
        level = step.part("select", AdaptiveThresholds).thresholds().max()
        return {"threshold": level, "global_threshold": level}
