"""CSL: trust by a split of each picture's pixels, and trusted pixels hidden from the student."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.data.transforms import ColourJitter, StrongColour, random_blocks
from leaven.learn import mix
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.methods.segmentation.weak_strong import Aim, Step, Strong, WeakStrong
from leaven.select import spectral_weight

LIGHT = StrongColour(jitter=ColourJitter(0.2, 0.2, 0.2, 0.2), grey=0.0)


class CSL(WeakStrong):
    """Confidence separable learning (Liu and Liu, ICCV 2025): UniMatch with two things changed.

    The trust in a pixel is ``spectral_weight(p)``, found per picture on the whole weak view and cut
    and pasted with the classes: 1 above the centre of the reliable group, falling off below it. And
    the second strong view becomes a covered one::

        c     = blocks of 32 pixels, each with probability 0.7, and [v = 1]
        m     = light colours of w with c set to the mean colour, or, with probability 1/2,
                strong colours of w
        loss  = 1/2 [ CE(student(x), y_x) + 1/4 U(s, y', v') + 1/4 U(m, y, v) + 1/2 U(w dropped, y, v) ]

    so that the student fills in hidden trusted pixels from the less reliable ones around them.

    What the paper sets to 0 in the normalised picture is here the mean colour as a byte. The group
    is reliable by its mean confidence, and the residual variance is not scaled, as in the paper; the
    authors' later code does otherwise. Without covers (``cover=0``) the second view is UniMatch's, as
    in that code. The partner of CutMix is predicted as in UniMatch, in evaluation mode; the authors'
    trainer leaves the network in training mode for it. The network used after the run is the
    averaged student, as with every method here.
    """

    card: ClassVar[Card] = Card(
        name="csl",
        title="When Confidence Fails: Revisiting Pseudo-Label Selection in Semi-supervised "
        "Semantic Segmentation",
        summary="Trust without a threshold, from how a picture's pixels fall in two groups; trusted "
        "blocks are hidden from the student.",
        task="segmentation",
        evidence="label maps",
        year=2025,
        venue="ICCV",
        paper="https://arxiv.org/abs/2509.16704",
        code="https://github.com/PanLiuCSU/CSL",
        number=40,
        parts=(
            "select.spectral_weight",
            "data.transforms.random_blocks",
            "learn.pixel_cross_entropy",
            "learn.one_rectangle",
            "learn.drop_channels",
            "data.transforms.StrongColour",
            "train.EMA",
        ),
        claim="Above UniMatch and CorrMatch on splits of Pascal VOC and Cityscapes.",
        measured="60 of 2,000 scenes labelled, 4,000 steps, 3 seeds, mean IoU: 63.3 %, UniMatch "
        "58.1, labels alone 47.3; against UniMatch -12.5, +25.1 and +3.0 by seed. CamVid at 120x160, 20 maps, "
        "U-Net from random weights, 1,500 steps: 34.7 %, UniMatch 32.3, labels alone 33.1 (36.3 with all "
        "labels); at 72x96 in 400 steps 25.5 %, as of the labels alone, UniMatch 25.3, without covered "
        "pixels 24.7.",
    )

    spread: float = Field(8.0, gt=0, description="how slowly the trust falls off below the centre")
    cover: float = Field(0.7, ge=0, le=1, description="share of covered blocks; 0 for no such view")
    block: int = Field(32, ge=1, description="side of a covered block in pixels")
    views: int = Field(1, ge=0, description="strong views with a CutMix, beside the covered view")
    hard_least: int = Field(
        200_000, ge=0, description="pixels per step that are learned however easy they are (OHEM)"
    )

    def select(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Tensor:
        return spectral_weight(probs, valid, self.spread)

    def aim(self, step: Step) -> list[Strong]:
        further = self.covered(step) if self.cover else self.mixed(step)
        return [*super().aim(step), further]

    def covered(self, step: Step) -> Strong:
        """The view with trusted blocks hidden, in half of the pictures; its aim is all of them."""
        run, own, images = step.run, step.proposed, step.weak.images
        light, strong = LIGHT(images, run.draws), self.strong(run, images)
        chosen = run.draws.flags(len(images))[:, None, None].expand_as(own.weight)
        size = step.weak.geometry.view
        blocks = random_blocks(len(images), size, run.draws, self.block, self.cover)
        hidden = chosen & blocks & (own.weight == 1)
        mean = (run.student.mean * 255).round().to(images.dtype).expand_as(images)
        view = mix(hidden, mix(chosen, strong, light), mean)
        return Strong(view, Aim(own.classes, own.weight, own.valid), torch.zeros_like(hidden))
