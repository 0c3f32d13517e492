"""Unbiased Teacher (Liu et al., ICLR 2021)."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.data.transforms import ColourJitter, NoiseErase, Seen, StrongColour
from leaven.labels import BoxLabels
from leaven.learn import region_cross_entropy
from leaven.methods.base import Card
from leaven.methods.detection.few_boxes import BoxRun
from leaven.methods.detection.teacher import Step
from leaven.methods.detection.two_stage_teacher import TwoStageTeacher, two_stage
from leaven.models.detection import Detector
from leaven.train import EMA

_ERASED = (
    NoiseErase(0.7, (0.05, 0.2), (0.3, 3.3)),
    NoiseErase(0.5, (0.02, 0.2), (0.1, 6)),
    NoiseErase(0.3, (0.02, 0.2), (0.05, 8)),
)


class UnbiasedTeacher(TwoStageTeacher):
    """Boxes above a score teach classes and objectness, under a focal loss, and no places.

    ::

        L(x, b)  = objectness + focal class loss + RPN and RoI box loss
        loss     = L([strong(x), weak(x)], y)                                  # burn-in
                 + weight (objectness + focal class loss)(strong(u), b)        # after it

    with ``b`` the teacher's boxes of ``weak(u)`` of a score above ``threshold`` and the focal loss
    ``mean_j (1 - p_j)^gamma CE_j`` over sampled regions. The strong view is the weak one with other
    colours, blur and rectangles of noise, so that boxes stay where they are. After the burn-in the
    teacher is a copy of the student; from then on its decay is constant.

    Of the code, a quarter instead of half of the sampled anchors are positives, and the teacher
    proposes as many regions as in training; here both are settings of the network. It learns by SGD
    of 0.01; AdamW of 2e-3 is for small nets from random weights, and ``recipe`` sets it.
    """

    card: ClassVar[Card] = Card(
        name="unbiased-teacher",
        title="Unbiased Teacher",
        summary="After a burn-in, sure boxes of the teacher teach classes under a focal loss, and no "
        "places.",
        task="detection",
        evidence="boxes",
        year=2021,
        venue="ICLR",
        paper="https://arxiv.org/abs/2102.09480",
        code="https://github.com/facebookresearch/unbiased-teacher",
        parts=(
            "learn.region_cross_entropy",
            "data.transforms.StrongColour",
            "data.transforms.NoiseErase",
            "models.detection.TwoStage",
            "train.EMA",
        ),
        claim="COCO, 10 % labelled, Faster R-CNN R50: 31.5 AP, supervised 23.9; 1 %: 20.8 and 9.1.",
        measured="Blood cells at 120x160, 10 of 205 photos, 2000 steps from random weights, 3 seeds: 44.0 % mAP "
        "(79.3 % AP50) against 42.7 (79.2) of the labels alone, 42.6 (80.2) of a mean teacher and 43.7 (81.8) of Soft "
        "Teacher.",
    )

    published_burn_in: ClassVar[float] = 2000 / 180_000

    ema: float = Field(0.9996, ge=0, lt=1, description="decay of the averaged weights, the teacher")
    unlabelled_weight: float = Field(4.0, ge=0, description="weight of the unlabelled loss")
    focus: float = Field(1.5, ge=0, description="gamma of the focal loss; 0 is cross entropy")

    def average(self, student: Detector) -> EMA[Detector]:
        return EMA(student, self.ema, warm_up=False)

    def strong(self, run: BoxRun, images: Tensor, weak: Seen) -> Seen:
        colours = StrongColour(jitter=ColourJitter(0.4, 0.4, 0.4, 0.1))
        changed = colours(weak.images, run.draws)
        for erase in _ERASED:
            changed = erase(changed, run.draws)
        return Seen(changed, weak.geometry)

    def labelled(self, run: BoxRun) -> tuple[Tensor, BoxLabels]:
        sample = run.batch.labelled
        weak = self.weak(run, sample.images)
        things = weak.geometry.labels(sample.targets)
        strong = self.strong(run, sample.images, weak)
        return torch.cat([strong.images, weak.images]), BoxLabels.joined([things, things])

    def supervised(self, run: BoxRun) -> dict[str, Tensor]:
        return self.terms(run, *self.labelled(run))

    def learn(self, step: Step) -> dict[str, Tensor]:
        losses = self.terms(step.run, step.strong.images, step.aim.labels)
        return {name: losses[name] for name in ("rpn_objectness", "roi_class")}

    def terms(self, run: BoxRun, images: Tensor, things: BoxLabels) -> dict[str, Tensor]:
        """The losses of the student by name, with the focal one for classes."""
        student = two_stage(run.student)
        features = student.features(images)
        anchors = student.rpn(features)
        losses = student.rpn_losses(anchors, things, run.draws)
        chosen = student.sample(student.propose(anchors), things, run.draws)
        outputs = student.roi_outputs(features, chosen.regions)
        losses["roi_class"] = region_cross_entropy(outputs.logits, chosen.labels, focus=self.focus)
        losses["roi_box"] = student.roi_box_loss(outputs, chosen)
        return losses
