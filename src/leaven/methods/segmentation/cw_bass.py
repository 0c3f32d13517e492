"""CW-BASS: pixels weigh what the teacher's confidence is, and borders count twice."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.data.transforms import StrongColour
from leaven.labels import UNKNOWN
from leaven.learn import linear_ramp, mix, one_rectangle, pixel_cross_entropy
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun, shown_pixels
from leaven.models.segmentation import Segmenter
from leaven.refine import label_borders
from leaven.select import mean_confidence_threshold


class BoundaryAware(FewMaps):
    """What the two versions of CW-BASS share: what unlabelled pixels cost.

    With classes Y, confidence c and a threshold theta, kept are the pixels with ``c > theta``::

        L_u = mean over kept of (decay c)^power CE(z, Y) + border_weight mean over kept borders of CE(z, Y)

    where borders are those of Y before the threshold (``refine.label_borders``).
    """

    base_threshold: float = Field(
        0.6,
        gt=0,
        le=1,
        description="times sigmoid(slope (mean confidence - 1/2)) the threshold: 0.30 to 0.34 by "
        "default",
    )
    slope: float = Field(0.5, gt=0, description="how fast the threshold follows mean confidence")
    bounds: tuple[float, float] = Field((0.3, 0.8), description="lowest and highest threshold")
    power: float = Field(1.0, ge=0, description="power of the confidence that weighs a pixel")
    decay: float = Field(
        1.0, gt=0, le=1, description="factor of the confidence; 0.9 in the authors' code if used"
    )
    border_weight: float = Field(0.5, ge=0, description="weight of the further loss at borders")
    unlabelled_weight: float = Field(1.0, ge=0, description="weight of the unlabelled loss")

    def kept(self, classes: Tensor, confidence: Tensor, threshold: Tensor) -> Tensor:
        """(B, H, W) the classes, -1 where the confidence does not exceed the threshold."""
        return torch.where(confidence > threshold, classes, UNKNOWN)

    def cost(
        self, logits: Tensor, kept: Tensor, confidence: Tensor, border: Tensor, decay: float
    ) -> Tensor:
        """``L_u`` of the classes ``kept`` (B, H, W), -1 for none."""
        weight = (decay * confidence) ** self.power
        weighted = pixel_cross_entropy(logits, kept, weight)
        at_borders = pixel_cross_entropy(logits, torch.where(border, kept, UNKNOWN))
        return weighted + self.border_weight * at_borders

    def covered(self, run: PixelRun, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Strong views of weak ones: other colours, and in half of them noise in a rectangle, where
        there is no class then."""
        size = (images.shape[2], images.shape[3])
        mask = one_rectangle(len(images), size, run.draws)
        noise = run.draws.uniform(*images.shape, high=256.0).to(images.dtype)
        strong = mix(mask, StrongColour()(images, run.draws), noise)
        return strong, torch.where(mask, UNKNOWN, classes)

    def final(self, run: PixelRun) -> Segmenter:
        return run.student


class CWBass(BoundaryAware):
    """CW-BASS on line (IJCNN 2025), as in the authors' code.

    ``loss = CE(student(x), y) + unlabelled_weight min(1, t / rampup) L_u`` with the classes and
    confidences of the teacher on the weak view (eval mode) and ``theta = clip(base_threshold /
    (1 + exp(-slope (mean c - 1/2))), bounds)``. The teacher averages the weights and copies the
    batch statistics of the student, which predicts. Pixels beside the picture count nowhere. In
    the first steps the average is that of a short run (``train.EMA``).
    """

    card: ClassVar[Card] = Card(
        name="cw-bass",
        title="Confidence-Weighted Boundary-Aware Learning",
        summary="Confident pixels weigh more, a threshold follows confidence, borders cost extra.",
        task="segmentation",
        evidence="label maps",
        year=2025,
        venue="IJCNN",
        paper="https://arxiv.org/abs/2502.15152",
        code="https://github.com/psychofict/CW-BASS",
        number=86,
        parts=(
            "select.mean_confidence_threshold",
            "refine.label_borders",
            "learn.pixel_cross_entropy",
            "train.EMA",
        ),
        claim="Cityscapes 65.9 % mIoU with 100 labelled pictures; VOC, 1/4 of the labels: 76.2 %.",
        measured="CamVid at 72x96, 20 maps, 400 steps from random weights, 3 seeds, mean IoU: 22.6 "
        "%, labels alone 25.5 %; without the loss at borders 23.7 %, without it and with a fixed threshold "
        "22.9 %. At 120x160 with a U-Net, 1,500 steps: 29.6 %, labels alone 33.1 %. "
        "Scenes of digits, 60 maps, 4,000 steps: 34.7 %, labels alone 47.3 %; in two of three runs "
        "digits vanish from the pseudo-labels.",
    )

    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights, the teacher")
    rampup: float = Field(5 / 80, ge=0, le=1, description="share of the run in which L_u rises")
    colours: bool = Field(
        False, description="the student sees unlabelled pictures in other colours and cut out"
    )

    def loss(self, run: PixelRun) -> Tensor:
        seen = self.weak(run, run.batch.unlabelled.images)
        valid = shown_pixels(run, seen)
        with torch.no_grad():
            confidence, said = run.teacher(seen.images).softmax(1).max(1)
        proposed = torch.where(valid, said, UNKNOWN)
        threshold = mean_confidence_threshold(
            confidence, valid, self.base_threshold, self.slope, self.bounds, run.trainer.mean
        )
        border = label_borders(proposed, run.student.num_classes)
        kept, images = self.kept(proposed, confidence, threshold), seen.images
        if self.colours:
            images, kept = self.covered(run, images, kept)

        supervised = self.supervised(run)
        logits = run.student(images)
        unlabelled = self.cost(logits, kept, confidence, border, self.decay)
        run.trainer.observe(
            losses={"supervised": supervised, "unlabelled": unlabelled},
            weight=(kept != UNKNOWN) * (self.decay * confidence) ** self.power,
            proposed=proposed,
            confidence=confidence,
            student=logits.argmax(1),
            truth=seen.geometry.maps(run.trainer.truth(run.batch.unlabelled.items)),
            confidence_threshold=threshold,
        )
        strength = self.unlabelled_weight * linear_ramp(run.progress, self.rampup)
        return supervised + strength * unlabelled
