"""DSSN: pairs of strong views, of pictures and of features, and a limit for each class."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.data.transforms import ColourChain, StrongColour
from leaven.learn import mix, standardised_pair_loss
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.methods.segmentation.weak_strong import Aim, Believed, Step, WeakStrong
from leaven.models.segmentation import Segmenter
from leaven.select import near_best_of_class
from leaven.train import EMA

STRONG = StrongColour(chain=ColourChain())


class DSSN(WeakStrong):
    """The dual-level siamese structure network (Tian et al., ACM Multimedia 2023).

    UniMatch with four changes. An averaged teacher T proposes for the strong views, the student for
    the dropped features, of which there are two. A pixel counts when it is near the best one of its
    class in its picture, ``A`` (``near_best_of_class``); of a mixed view that is found of T's pasted
    outputs. Two views of one thing are a positive pair: ``n(z)`` are standardised logits. ::

        loss = 1/2 [ CE(student(x), y_x) + 1/4 (U(s_1) + U(s_2) + U(f_1) + U(f_2))
                     + 0.01 (mean (n(z_s1) - n(z_s2))^2 + mean (n(z_f1) - n(z_f2))^2) ]
        T    <- 0.996 T + 0.004 student, batch statistics too; T = student after the first step

    The first step has no loss of strong views, as T knows nothing yet. T normalises by its averaged
    statistics; in the authors' code by its own batches in the first epoch, until it is evaluated.
    Padding has no part in ``A``; there it does.

    For Cityscapes: ``hard_pixels``, no selection (``least=0, share=0``), and no strong views while T
    is a copy for ``copied=5/240`` of the run. Its pair loss of 0.005 outside the half is this one.
    """

    card: ClassVar[Card] = Card(
        name="dssn",
        title="Improving Semi-Supervised Semantic Segmentation with Dual-Level Siamese Structure "
        "Network",
        summary="Strong views of pictures and of features in pairs, and trust relative to the best "
        "pixel of each class.",
        task="segmentation",
        evidence="label maps",
        year=2023,
        venue="ACM Multimedia",
        paper="https://arxiv.org/abs/2307.13938",
        code="https://github.com/kunzhan/DSSN",
        number=57,
        parts=(
            "select.near_best_of_class",
            "learn.standardised_pair_loss",
            "learn.pixel_cross_entropy",
            "learn.one_rectangle",
            "learn.drop_channels",
            "data.transforms.ColourChain",
            "train.EMA",
        ),
        claim="Pascal VOC, ResNet-101, 92 label maps: 75.2 % mIoU, 1464: 81.2 %.",
        measured="CamVid at 72x96, 20 maps, 400 steps from random weights, 3 seeds, mean IoU: 22.9 % "
        "against 25.3 % of UniMatch, 25.5 % of the labels alone, and 22.6 % without the pair loss. At 120x160 "
        "with a U-Net, 1,500 steps: 31.0 %, UniMatch 32.3 %, labels alone 33.1 %, without the pair loss 32.1 %.",
    )

    least: float = Field(
        0.92, ge=0, le=1, description="what the best pixel of a class must pass for it to count"
    )
    share: float = Field(
        0.96, ge=0, le=1, description="share of the best pixel's probability that others must pass"
    )
    copied: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the run in which T copies the student and strong views "
        "teach nothing; the first step in any case",
    )
    pair_weight: float = Field(0.01, ge=0, description="weight of both pair losses")
    feature_views: int = Field(2, ge=0, description="weak views with channels left out")
    feature_weight: float = Field(
        0.25, ge=0, description="weight of the loss of each view with channels left out"
    )
    ema: float = Field(0.996, ge=0, lt=1, description="decay of the averaged weights, the teacher")

    def average(self, student: Segmenter) -> EMA[Segmenter]:
        return EMA(student, self.ema, average_buffers=True, warm_up=_copy_first)

    def strong(self, run: PixelRun, images: Tensor) -> Tensor:
        return STRONG(images, run.draws)

    def select(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Tensor:
        return near_best_of_class(probs, valid, self.least, self.share)

    def is_copied(self, run: PixelRun) -> bool:
        """Whether T is still a copy of the student."""
        return run.average.updates == 0 or run.progress < self.copied

    def after(self, run: PixelRun) -> None:
        if self.is_copied(run):
            run.average.updates = 0
        super().after(run)

    def foresee(self, run: PixelRun, images: Tensor) -> Tensor:
        with torch.no_grad():
            return run.teacher(images).softmax(1)

    def propose(self, step: Step) -> Believed:
        return self.believe(step.run, self.foresee(step.run, step.weak.images), step.valid)

    def paste(self, step: Step, mask: Tensor) -> Aim:
        own, other = step.proposed, step.partners
        valid = mix(mask, own.valid, other.valid)
        pasted = self.believe(step.run, mix(mask, own.probs, other.probs), valid)
        return Aim(pasted.classes, pasted.weight, valid)

    def learn(self, step: Step) -> dict[str, Tensor]:
        losses = super().learn(step)
        if self.is_copied(step.run):
            losses = {name: loss for name, loss in losses.items() if "strong" not in name}
        pairs = {
            "pair-pictures": [said.logits for said in step.said],
            "pair-features": step.dropped,
        }
        for name, views in pairs.items():
            if self.pair_weight and len(views) == 2:
                losses[name] = self.pair_weight / 2 * standardised_pair_loss(*views)
        return losses


def _copy_first(update: int) -> float:
    """The first update copies the student; from the second on the decay holds."""
    return 0.0 if update == 1 else 1.0
