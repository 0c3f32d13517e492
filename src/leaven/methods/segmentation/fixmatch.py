"""FixMatch for pixels: confident classes of the weak view are what the strong one learns."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.methods.segmentation.weak_strong import WeakStrong
from leaven.select import fixed_threshold


class FixMatch(WeakStrong):
    """FixMatch (Sohn et al., NeurIPS 2020) with a class per pixel, as UniMatch's authors have it.

    ``loss = 1/2 [ CE(student(x), y_x) + U(student(s), y, [max p >= threshold]) ]``, see
    ``WeakStrong``: one strong view with CutMix, no dropped features. The student itself proposes;
    as with every method here, averaged weights are what is used after the run.
    """

    card: ClassVar[Card] = Card(
        name="fixmatch",
        title="FixMatch for pixels",
        summary="Confident classes of the weak view are what the strong view with CutMix learns.",
        task="segmentation",
        evidence="label maps",
        year=2020,
        venue="NeurIPS",
        paper="https://arxiv.org/abs/2001.07685",
        code="https://github.com/LiheYoung/UniMatch",
        parts=(
            "select.fixed_threshold",
            "learn.pixel_cross_entropy",
            "learn.one_rectangle",
            "data.transforms.StrongColour",
            "train.EMA",
        ),
        claim="The baseline of UniMatch, whose authors found it level with the methods before.",
        measured="60 of 2,000 scenes with digits labelled, 4,000 steps, 3 seeds, mean IoU: 59.9 %, labels alone "
        "47.3 %. CamVid at 120x160, 20 maps, U-Net, 1,500 steps from random weights: 32.8 %, labels alone 33.1 % "
        "(36.3 with all labels); at 72x96 in 400 steps 24.9 %, labels alone 25.5 % (26.3 with all labels); 6 maps and an encoder of CIFAR-10: 23.7 %, labels alone 25.3 % (31.6 with all labels).",
    )

    threshold: float = Field(
        0.95,
        ge=0,
        le=1,
        description="confidence from which a pixel is learned from; published: 0 on Cityscapes",
    )
    hard_least: int = Field(
        200_000,
        ge=0,
        description="pixels per step that are learned however easy they are (OHEM)",
    )
    views: int = Field(1, ge=0, description="strong views, each with a CutMix of its own")
    feature_views: int = Field(0, ge=0, description="weak views with channels left out")
    strong_weight: float = Field(1.0, ge=0, description="weight of the loss of each strong view")

    def select(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Tensor:
        return fixed_threshold(probs.amax(1), self.threshold)
