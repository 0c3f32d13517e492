"""DebiasPL: what the model usually says is taken out of its labels and put into their margins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.learn import adjust_logits
from leaven.methods.base import Card
from leaven.methods.classification.weak_strong import Plugin, Step
from leaven.refine import RunningMean, debias
from leaven.train import Trainer


class DebiasPL(Plugin):
    """DebiasPL (Wang et al., CVPR 2022): a plug-in that changes ``refine`` and ``learn``.

    ``m`` is the moving average of the mean of the base's proposals ``p = softmax(z)``: what the
    model says whatever it sees. Proposals are freed from it, and the strong view has to win by a
    larger margin for a class that is said rarely (the adaptive marginal loss)::

        p~ = softmax(log p - debiasing * log m)          labels and confidences
        m <- momentum * m + (1 - momentum) * mean_u p_u
        unlabelled loss on   z(strong(u)) + debiasing * log m

    Proposals are debiased by ``m`` as it was before the batch, the margins use it as it is after,
    as in the released code. Labelled items and predictions are left as they are.

    ``debiasing`` is the value of the released scripts. These use two views of each kind and add a
    group discrimination loss (CLD) on top, neither of which is part of the method. Their proposals
    are those of the averaged network (EMAN), here those of the base; their unlabelled weight is 10,
    their threshold 0.8, with CLIP 0.7, and their ``momentum`` 0.99, in one of them 0.999.
    """

    card: ClassVar[Card] = Card(
        name="debiaspl",
        title="Debiased Learning from Naturally Imbalanced Pseudo-Labels",
        summary="The model's mean output is subtracted from labels and sets the margins.",
        task="classification",
        evidence="few labels, unequally spread",
        year=2022,
        venue="CVPR",
        paper="https://arxiv.org/abs/2201.01490",
        code="https://github.com/frank-xwang/debiased-pseudo-labeling",
        parts=(
            "refine.RunningMean",
            "refine.debias",
            "learn.adjust_logits",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="ImageNet, ResNet-50 from MoCo: 51.6 % with 0.2 % of the labels against 43.6 % of "
        "FixMatch with EMAN, 65.3 % against 60.9 % with 1 %.",
        measured="Digits as a long tail (40 to 2 labels), 600 steps, 3 seeds, balanced accuracy "
        "against FixMatch: unlabelled tail like the labelled one +0.3 points, reversed +2.5.",
    )

    needs_strong: ClassVar[bool] = True

    debiasing: float = Field(0.4, ge=0, description="how much of the mean output is taken out")
    momentum: float = Field(0.999, ge=0, lt=1, description="of the mean output")

    def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
        usual = RunningMean(len(data.classes), self.momentum, trainer.mean)
        return {**super().parts(data, trainer), "usual": usual}

    def refine(self, step: Step, probs: Tensor) -> Tensor:
        probs = super().refine(step, probs)
        usual = step.part("usual", RunningMean)
        freed = debias(probs, usual.mean, self.debiasing)
        usual.update(probs)
        return freed

    def learn(self, step: Step) -> dict[str, Tensor]:
        seen, mean = step.seen["strong"], step.part("usual", RunningMean).mean
        logits = adjust_logits(seen.logits, mean, self.debiasing)
        return super().learn(
            replace(step, seen=step.seen | {"strong": seen._replace(logits=logits)})
        )

    def notes(self, step: Step) -> dict[str, Any]:
        usual = step.part("usual", RunningMean).mean
        return super().notes(step) | {"rarest_output": usual.min(), "commonest_output": usual.max()}
