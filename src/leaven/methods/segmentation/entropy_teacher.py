"""The mean teacher that leaves out the pixels it is least certain of."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.labels import UNKNOWN
from leaven.learn import half_rectangle, kept_pixel_cross_entropy, mix
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun, shown_pixels
from leaven.models.segmentation import Segmenter
from leaven.select import keep_certain, pixel_entropy
from leaven.train import EMA, from_student


class EntropyTeacher(FewMaps):
    """Mean teacher with CutMix and an entropy filter: U2PL's baseline, and the host of FST.

    ``loss = CE(student(x), y) + unlabelled_weight all/kept mean over kept pixels of CE(student(u), Y)``.
    ``Y = argmax teacher(w)`` of weak views w, the teacher in eval mode. With probability ``cutmix``
    the step's views and their classes are mixed, half a picture with the next one; u are these. Kept
    are the pixels whose entropy is below the ``keep`` percentile of those of the batch; it is that of
    the teacher on x and u together, in train mode, which gives the teacher its batch statistics. The
    decay of the teacher is ``min(1 - 1 / (i + 1), ema)`` in step i. The teacher predicts.
    """

    card: ClassVar[Card] = Card(
        name="entropy-teacher",
        title="Mean teacher with an entropy filter",
        summary="The averaged weights label mixed pictures but for the fifth of least certainty.",
        task="segmentation",
        evidence="label maps",
        year=2022,
        venue="CVPR",
        paper="https://arxiv.org/abs/2203.03884",
        code="https://github.com/Haochen-Wang409/U2PL",
        parts=(
            "select.pixel_entropy",
            "select.keep_certain",
            "learn.half_rectangle",
            "learn.mix",
            "learn.kept_pixel_cross_entropy",
            "train.EMA",
        ),
        claim="The mean teacher that U2PL and FST start from.",
    )

    keep: float = Field(
        0.8, ge=0, le=1, description="percentile of entropy below which pixels count"
    )
    cutmix: float = Field(0.5, ge=0, le=1, description="probability of a step with mixed pictures")
    unlabelled_weight: float = Field(1.0, ge=0, description="weight of the unlabelled loss")

    def average(self, student: Segmenter) -> EMA[Segmenter]:
        return EMA(student, self.ema, warm_up=from_student, own_buffers=True)

    def loss(self, run: PixelRun) -> Tensor:
        labelled, classes = self.labelled(run)
        seen = self.weak(run, run.batch.unlabelled.images)
        with torch.no_grad():
            confidence, said = run.teacher(seen.images).softmax(1).max(1)
        proposed = torch.where(shown_pixels(run, seen), said, UNKNOWN)
        truth = seen.geometry.maps(run.trainer.truth(run.batch.unlabelled.items))
        mask = self.mask(run, seen.images)
        mixed, proposed, confidence, truth = (
            mix(mask, each, each.roll(-1, 0)) for each in (seen.images, proposed, confidence, truth)
        )

        together = torch.cat([labelled, mixed])
        logits, logits_mixed = run.student(together).split([len(labelled), len(mixed)])
        undecided = self.undecided(run.teacher, together)[len(labelled) :]
        judged = proposed != UNKNOWN
        kept = keep_certain(undecided, judged, self.keep)
        target = torch.where(kept, proposed, UNKNOWN)
        supervised = self.labelled_loss(logits, classes)
        consistency = self.unlabelled_weight * kept_pixel_cross_entropy(
            logits_mixed, target, judged
        )
        run.trainer.observe(
            losses={"supervised": supervised, "consistency": consistency},
            weight=kept.float(),
            proposed=proposed,
            confidence=confidence,
            student=logits_mixed.argmax(1),
            truth=truth,
        )
        return supervised + consistency

    def mask(self, run: PixelRun, images: Tensor) -> Tensor:
        """(B, H, W) bool, where the next picture is seen: nowhere in a step without CutMix."""
        used = run.draws.flags(1, probability=self.cutmix)
        mask = half_rectangle(len(images), (images.shape[2], images.shape[3]), run.draws)
        return mask & used[:, None, None]

    @torch.no_grad()
    def undecided(self, teacher: Segmenter, images: Tensor) -> Tensor:
        """(B, H, W), the entropy of what the teacher says in train mode."""
        teacher.train()
        entropy = pixel_entropy(teacher(images).softmax(1))
        teacher.eval()
        return entropy
