"""Mean teacher for pixels: the averaged weights say what a strong view of a picture is."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from leaven.labels import UNKNOWN
from leaven.learn import pixel_cross_entropy, pixel_mean_squared, sigmoid_ramp
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun, shown_pixels


class MeanTeacher(FewMaps):
    """Mean teacher (Tarvainen and Valpola, NeurIPS 2017) with a class per pixel.

    ``loss = CE(student(x), y_x) + weight ramp(t) C(student(strong(w)), p)``, ``p`` the softmax outputs
    of the averaged weights on the weak view ``w`` and ``ramp(t) = exp(-5 (1 - t / rampup)^2)``.

    ``C`` is, of soft targets, the mean of ``(softmax(z)_k - p_k)^2`` over classes and pixels; of hard
    ones, the cross entropy of ``argmax p`` over pixels. No pixel is left out but padding. A strong
    view has the colours of another draw and the geometry of the weak one; the paper's two views of
    a small picture are two draws of one view.
    """

    card: ClassVar[Card] = Card(
        name="mean-teacher",
        title="Mean teacher for pixels",
        summary="The averaged weights tell the student what a strong view of the picture should be.",
        task="segmentation",
        evidence="label maps",
        year=2017,
        venue="NeurIPS",
        paper="https://arxiv.org/abs/1703.01780",
        code="https://github.com/CuriousAI/mean-teacher",
        parts=(
            "learn.pixel_mean_squared",
            "learn.pixel_cross_entropy",
            "learn.sigmoid_ramp",
            "data.transforms.StrongColour",
            "train.EMA",
        ),
        claim="The usual baseline of semi-supervised segmentation; its paper is about classes.",
        measured="60 of 2,000 scenes with digits labelled, 4,000 steps, 3 seeds, mean IoU: 52.1 %, labels alone "
        "47.3 %. CamVid at 72x96, 20 maps, 400 steps from random weights: 24.7 % against 25.5 % of the labels "
        "alone (26.3 with all labels); at 120x160 with a U-Net, 1,500 steps, 32.5 % against 33.1 % (36.3); 6 maps and an encoder of CIFAR-10: "
        "20.7 % against 25.3 % (31.6 % with all labels).",
    )

    targets: Literal["soft", "hard"] = Field(
        "hard", description="what the student learns of the teacher: probabilities or classes"
    )
    unlabelled_weight: float = Field(
        1.0, ge=0, description="highest weight of the unlabelled loss; with soft targets about 50"
    )
    rampup: float = Field(40 / 150, ge=0, le=1, description="share of the run in which it rises")

    def loss(self, run: PixelRun) -> Tensor:
        images, classes = self.labelled(run)
        sample = run.batch.unlabelled
        weak = self.weak(run, sample.images)
        valid = shown_pixels(run, weak)
        with torch.no_grad():
            probs = run.teacher(weak.images).softmax(1)
        confidence, said = probs.max(1)
        proposed = torch.where(valid, said, UNKNOWN)
        together = torch.cat([images, self.strong(run, weak.images)])
        logits, strong = run.student(together).split([len(images), len(weak.images)])

        supervised = self.labelled_loss(logits, classes)
        if self.targets == "soft":
            consistency = pixel_mean_squared(strong, probs, valid)
        else:
            consistency = pixel_cross_entropy(strong, proposed)
        weight = self.unlabelled_weight * sigmoid_ramp(run.progress, self.rampup)
        run.trainer.observe(
            losses={"supervised": supervised, "consistency": consistency},
            weight=valid.float(),
            proposed=proposed,
            confidence=confidence,
            student=strong.argmax(1),
            truth=weak.geometry.maps(run.trainer.truth(sample.items)),
        )
        return supervised + weight * consistency
