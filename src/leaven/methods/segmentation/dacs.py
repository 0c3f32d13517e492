"""DACS: things of labelled pictures stand in pictures of another domain."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data.transforms import ColourJitter, StrongColour
from leaven.labels import UNKNOWN
from leaven.learn import classmix_mask, mix, pixel_cross_entropy
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun
from leaven.models.segmentation import Segmenter
from leaven.select import confident_share
from leaven.train import EMA, Recipe, from_student


class DACS(FewMaps):
    """Domain adaptation by mixing across domains (Tranheden et al., WACV 2021).

    The labelled pictures are the source domain, the unlabelled ones the target domain.
    ``loss = CE(student(x), y) + unlabelled_weight mean_i w_i CE(student(colours(m))_i, Y_i)`` with
    ``m = M x + (1 - M) u``, M the pixels of half of the classes of each x. There ``Y = y`` and
    ``w = 1``; elsewhere ``Y = argmax teacher(u)`` and w is the share of the pixels of the batch of
    which the teacher is confident. Rows at the top and at the bottom of u, where a street camera
    sees its own car, may be left out. The mean is over all pixels that show a picture.

    The teacher normalises by the batch, without dropout; its decay is ``min(1 - 1 / (i + 1), ema)`` in
    step i. The student predicts. Colours are drawn for each picture, in the authors' code once for
    the batch. DAFormer's sampling of rare classes and its distance to the features of ImageNet are
    not part of DACS.
    """

    card: ClassVar[Card] = Card(
        name="dacs",
        title="Domain Adaptation via Cross-domain mixed Sampling",
        summary="Half of the classes of a labelled picture are pasted onto one of another domain.",
        task="segmentation",
        evidence="label maps",
        year=2021,
        venue="WACV",
        paper="https://arxiv.org/abs/2007.08702",
        code="https://github.com/vikolss/DACS",
        parts=(
            "select.confident_share",
            "learn.classmix_mask",
            "learn.mix",
            "learn.pixel_cross_entropy",
            "data.transforms.StrongColour",
            "train.EMA",
        ),
        claim="GTA5 to Cityscapes, DeepLabV2 with ResNet-101: 52.1 % mIoU.",
    )

    ratio: int = Field(1, ge=1, le=1, description="one target picture per source picture")
    recipe: Recipe = Field(
        Recipe(optimizer="adamw", lr=2e-3, weight_decay=1e-2, schedule="poly", warmup=1.5 / 40),
        description="how the weights are moved; published backbones want 6e-5",
    )
    confident: float = Field(0.968, ge=0, le=1, description="confidence that is counted")
    share: float = Field(0.5, ge=0, le=1, description="classes of a source picture that are pasted")
    unlabelled_weight: float = Field(1.0, ge=0, description="weight of the loss of mixed pictures")
    rows_left_out: tuple[int, int] = Field(
        (0, 0), description="rows of target views at the top and the bottom that are not learned"
    )

    def average(self, student: Segmenter) -> EMA[Segmenter]:
        average = EMA(student, self.ema, warm_up=from_student, own_buffers=True)
        average.module.train()
        for module in average.module.modules():
            module.train(not isinstance(module, nn.modules.dropout._DropoutNd))
        return average

    def strong(self, run: PixelRun, images: Tensor) -> Tensor:
        jitter = ColourJitter(0.2, 0.2, 0.2, 0.2)
        return StrongColour(jitter, grey=0.0, blur=0.5, sigma=(0.15, 1.15))(images, run.draws)

    def loss(self, run: PixelRun) -> Tensor:
        sample = run.batch.labelled
        source, seen = (self.weak(run, one.images) for one in (sample, run.batch.unlabelled))
        classes = source.geometry.maps(sample.targets)
        shown, valid = (one.geometry.valid(run.trainer.device) for one in (source, seen))
        with torch.no_grad():
            confidence, said = run.teacher(seen.images).softmax(1).max(1)
        proposed = torch.where(valid, said, UNKNOWN)
        trust = confident_share(confidence, valid, self.confident) * self.learned(proposed)

        mask = classmix_mask(classes, run.draws, run.student.num_classes, self.share)
        mixed = self.strong(run, mix(mask, seen.images, source.images))
        target, weight = mix(mask, proposed, classes), mix(mask, trust, torch.ones_like(trust))
        logits = run.student(mixed)
        supervised = pixel_cross_entropy(run.student(source.images), classes)
        across = pixel_cross_entropy(logits, target, weight, mix(mask, valid, shown))
        run.trainer.observe(
            losses={"supervised": supervised, "mixed": across},
            weight=trust,
            proposed=proposed,
            confidence=confidence,
            truth=seen.geometry.maps(run.trainer.truth(run.batch.unlabelled.items)),
        )
        return supervised + self.unlabelled_weight * across

    def learned(self, proposed: Tensor) -> Tensor:
        """(B, H, W) float, 1 where a proposal of the target domain is learned at all."""
        top, bottom = self.rows_left_out
        row = torch.arange(proposed.shape[1], device=proposed.device)[:, None]
        return ((proposed != UNKNOWN) & (row >= top) & (row < len(row) - bottom)).float()

    def final(self, run: PixelRun) -> Segmenter:
        return run.student
