"""UniMatch: two strong views and one of dropped features learn from one weak view."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from leaven.methods.base import Card
from leaven.methods.segmentation.fixmatch import FixMatch


class UniMatch(FixMatch):
    """UniMatch (Yang et al., CVPR 2023): FixMatch with more views.

    ``loss = 1/2 [ CE(student(x), y_x) + 1/4 (U(s_1) + U(s_2)) + 1/2 U(w; half the channels dropped) ]``
    with ``U(.) = U(student(.), y, [max p >= 0.95])``, see ``WeakStrong``.

    Two things differ from the authors' code. Channels are dropped of the unlabelled pictures alone;
    there they are dropped of the labelled ones too, and only batch norm sees these. The partner of
    CutMix is another picture; there both batches come in one order, so that it is another view of
    the same picture. The network that is used after the run is the averaged student, as with every
    method here, and there the student itself.
    """

    card: ClassVar[Card] = Card(
        name="unimatch",
        title="Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation",
        summary="FixMatch with two strong views and a view of features with half the channels.",
        task="segmentation",
        evidence="label maps",
        year=2023,
        venue="CVPR",
        paper="https://arxiv.org/abs/2208.09910",
        code="https://github.com/LiheYoung/UniMatch",
        parts=(
            "select.fixed_threshold",
            "learn.pixel_cross_entropy",
            "learn.one_rectangle",
            "learn.drop_channels",
            "data.transforms.StrongColour",
            "train.EMA",
        ),
        claim="Pascal VOC, ResNet-101, 92 label maps: 75.2 % mIoU against 45.1 % of the labels alone.",
        measured="60 of 2,000 scenes with digits labelled, 4,000 steps, 3 seeds, mean IoU: 58.1 %, labels alone "
        "47.3 %. CamVid at 120x160, 20 maps, U-Net, 1,500 steps from random weights: 32.3 %, labels alone 33.1 % "
        "(36.3 with all labels); at 72x96 in 400 steps 25.3 % against 25.5 % of the labels alone (26.3 with all labels); 6 maps and an encoder of CIFAR-10: "
        "23.2 % against 25.3 % (31.6 % with all labels).",
    )

    views: int = Field(2, ge=0, description="strong views, each with a CutMix of its own")
    feature_views: int = Field(1, ge=0, description="weak views with channels left out")
    strong_weight: float = Field(0.25, ge=0, description="weight of the loss of each strong view")
