"""FixMatch: confident predictions on weak views are the labels of strong views."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from leaven.data import Data
from leaven.learn import cross_entropy
from leaven.methods.base import Card, Fitted
from leaven.methods.classification.few_labels import OnlineFewLabels
from leaven.refine import DistributionAlignment, SinkhornAllocation
from leaven.select import fixed_threshold
from leaven.train import EMA, Trainer


class FixMatch(OnlineFewLabels):
    """FixMatch (Sohn et al., NeurIPS 2020), the plain step the whole family stands on.

    With ``p_u = softmax(student(weak(u)))``, aligned as ``align`` says,
    ``loss = CE(student(weak(x)), y) + unlabelled_weight * mean_u 1[max p_u >= threshold]
    CE(student(strong(u)), argmax p_u)``. Averaged weights predict.

    The pseudo-label comes from the student itself, as in the paper; batch statistics are shared by
    all views of a step, which go through the network together.
    """

    card: ClassVar[Card] = Card(
        name="fixmatch",
        title="FixMatch",
        summary="A confident class on the weak view is the label of the strong view.",
        task="classification",
        evidence="few labels",
        year=2020,
        venue="NeurIPS",
        paper="https://arxiv.org/abs/2001.07685",
        code="https://github.com/google-research/fixmatch",
        parts=(
            "refine.DistributionAlignment",
            "refine.SinkhornAllocation",
            "select.fixed_threshold",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="CIFAR-10, WRN-28-2: 88.6 % with 40 labels, 94.9 % with 250.",
        measured="Digits, 4 labels per class, aligned by allocation, threshold 0.8, 1,000 steps, "
        "seeds 0 to 2: 97.8 % against 85.7 % of the labels alone.",
    )

    threshold: float = Field(0.95, ge=0, le=1, description="confidence that a label must reach")
    unlabelled_weight: float = Field(1.0, ge=0, description="weight of the unlabelled loss")
    align: Literal["none", "mean", "allocation"] = Field(
        "none",
        description="hold the classes of the proposals to the spread of the labels: divide by "
        "their mean, or allocate them in these shares",
    )

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        student = trainer.model()
        teacher = EMA(student, self.ema)
        optimizer = trainer.optimizer(student, self.recipe)
        weak, strong = data.views()
        align = self._alignment(trainer).to(trainer.device)
        trainer.register(student=student, teacher=teacher, optimizer=optimizer, align=align)

        for batch in trainer.steps(
            labelled=data.labelled.batches(self.batch),
            unlabelled=data.unlabelled.batches(self.batch * self.ratio),
            watch=teacher.module,
        ):
            labelled, unlabelled, draws = batch.labelled, batch.unlabelled, trainer.draws
            views = torch.cat(
                [
                    weak(labelled.images, draws),
                    weak(unlabelled.images, draws),
                    strong(unlabelled.images, draws),
                ]
            )
            split = [len(labelled), len(unlabelled), len(unlabelled)]
            logits, logits_weak, logits_strong = student(views).split(split)

            probs = align(logits_weak.detach().softmax(1))
            confidence, proposed = probs.max(1)
            weight = fixed_threshold(confidence, self.threshold)

            supervised = cross_entropy(logits, labelled.targets)
            consistency = cross_entropy(logits_strong, proposed, weight)
            trainer.observe(
                losses={"supervised": supervised, "unlabelled": consistency},
                weight=weight,
                proposed=proposed,
                confidence=confidence,
                student=logits_strong.argmax(1),
                items=unlabelled.items,
                threshold=self.threshold,
            )
            if trainer.update(supervised + self.unlabelled_weight * consistency, optimizer):
                teacher.update(student)

        return self.fitted(trainer, teacher.module, self.threshold)

    def _alignment(self, trainer: Trainer) -> nn.Module:
        """What holds the proposals to the spread of the labels."""
        classes, prior = len(trainer.prior), trainer.prior.cpu()
        match self.align:
            case "mean":
                return DistributionAlignment(classes, target=prior, reduce=trainer.mean)
            case "allocation":
                return SinkhornAllocation(classes, target=prior, gather=trainer.gather)
            case _:
                return nn.Identity()
