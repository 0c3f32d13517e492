"""DACS: things of labelled pictures stand in pictures of another domain."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.dataset import T
from leaven.data.rare_classes import RareClassStream
from leaven.data.transforms import ColourJitter, StrongColour
from leaven.errors import ConfigError
from leaven.labels import UNKNOWN
from leaven.learn import (
    classmix_mask,
    masked_feature_distance,
    mix,
    patch_classes,
    pixel_cross_entropy,
)
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun, shown_pixels
from leaven.models.segmentation import Segmenter
from leaven.propose.predict import batch_norm_alone
from leaven.select import confident_share
from leaven.train import EMA, Recipe, from_student
from leaven.train.pixel_trainer import PixelTrainer

THINGS = (
    "traffic light", "traffic sign", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
"""The things of Cityscapes."""


class DACS(FewMaps):
    """Domain adaptation by mixing across domains (Tranheden et al., WACV 2021).

    The labelled pictures are the source domain, the unlabelled ones the target domain.
    ``loss = CE(student(x), y) + unlabelled_weight mean_i w_i CE(student(colours(m))_i, Y_i)`` with
    ``m = M x + (1 - M) u``, M the pixels of half of the classes of each x. There ``Y = y`` and
    ``w = 1``; elsewhere ``Y = argmax teacher(u)`` and w is the share of the pixels of the batch of
    which the teacher is confident. Rows at the top and at the bottom of u, where a street camera
    sees its own car, may be left out. The mean is over all pixels that show a picture.

    The teacher normalises by the batch, without dropout or stochastic depth; its decay is
    ``min(1 - 1 / (i + 1), ema)`` in step i. The student predicts. Colours are drawn for each picture,
    in the authors' code once for the batch.

    Two things that DAFormer (Hoyer et al., CVPR 2022) adds, and FST takes with it, can be switched on:

    - ``rare_temperature=0.01``: a class is drawn for each labelled picture, the rarer the more often
      (``data.rare_class_probs``), then one of its pictures. There a view is also drawn anew, up to
      ten times, until it shows the class.
    - ``feature_weight=0.005``: the loss gets ``feature_weight`` times the mean distance of the coarsest
      features of labelled pictures to those of the first encoder, in eval mode and never trained,
      over the places of which a class of ``things`` fills ``filled`` (``learn.masked_feature_distance``).
      It is meant for a model that begins with published weights.
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
            "learn.patch_classes",
            "learn.masked_feature_distance",
            "data.RareClassStream",
            "data.transforms.StrongColour",
            "train.EMA",
        ),
        claim="GTA5 to Cityscapes, DeepLabV2 with ResNet-101: 52.1 % mIoU.",
        measured="CamVid at 72x96 from day to dusk, 250 steps from random weights, 3 seeds, mean IoU: "
        "15.6 %, labels of the day alone 10.5 %; after 1,000 steps 24.2 %. At 120x160 with a U-Net, 1,200 "
        "steps: 30.8 %, labels of the day alone 14.6 %; after 4,800 steps 38.8 %.",
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
        (0, 0),
        description="rows of target views at the top and the bottom that are not learned; (15, 120) "
        "of 512 in published runs on Cityscapes",
    )
    rare_temperature: float | None = Field(
        None, gt=0, description="of the sampling of rare classes, in DAFormer 0.01; None: all alike"
    )
    rare_share: float = Field(
        0.0015,
        ge=0,
        le=1,
        description="share of a picture from which it is drawn for a class, in DAFormer 3000 pixels",
    )
    feature_weight: float = Field(
        0.0, ge=0, description="weight of the distance to first features, in DAFormer 0.005"
    )
    things: tuple[str, ...] = Field(
        THINGS, description="classes whose features stay near the first ones"
    )
    filled: float = Field(
        0.75, gt=0, le=1, description="share of a patch from which it is of one class"
    )

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        return {"first": FirstFeatures(student, self.things)} if self.feature_weight else {}

    def streams(self, data: Data[T]) -> dict[str, Any]:
        streams = super().streams(data)
        if self.rare_temperature is not None:
            _, height, width = data.shape
            streams["labelled"] = RareClassStream(
                data.labelled,  # type: ignore[arg-type]
                self.batch,
                classes=len(data.classes),
                temperature=self.rare_temperature,
                least=round(self.rare_share * height * width),
            )
        return streams

    def average(self, student: Segmenter) -> EMA[Segmenter]:
        average = EMA(student, self.ema, warm_up=from_student, own_buffers=True)
        batch_norm_alone(average.module)
        return average

    def strong(self, run: PixelRun, images: Tensor) -> Tensor:
        jitter = ColourJitter(0.2, 0.2, 0.2, 0.2)
        return StrongColour(jitter, grey=0.0, blur=0.5, sigma=(0.15, 1.15))(images, run.draws)

    def loss(self, run: PixelRun) -> Tensor:
        sample = run.batch.labelled
        source, seen = (self.weak(run, one.images) for one in (sample, run.batch.unlabelled))
        classes = source.geometry.maps(sample.targets)
        shown, valid = shown_pixels(run, source, "labelled"), shown_pixels(run, seen)
        with torch.no_grad():
            confidence, said = run.teacher(seen.images).softmax(1).max(1)
        proposed = torch.where(valid, said, UNKNOWN)
        trust = confident_share(confidence, valid, self.confident) * self.learned(proposed)

        mask = classmix_mask(classes, run.draws, run.student.num_classes, self.share)
        mixed = self.strong(run, mix(mask, seen.images, source.images))
        target, weight = mix(mask, proposed, classes), mix(mask, trust, torch.ones_like(trust))
        logits = run.student(mixed)
        losses = self.source_losses(run, source.images, classes)
        across = pixel_cross_entropy(logits, target, weight, mix(mask, valid, shown))
        run.trainer.observe(
            losses={**losses, "mixed": across},
            weight=trust,
            proposed=proposed,
            confidence=confidence,
            truth=seen.geometry.maps(run.trainer.truth(run.batch.unlabelled.items)),
        )
        return torch.stack(list(losses.values())).sum() + self.unlabelled_weight * across

    def source_losses(self, run: PixelRun, images: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """What labelled views (B, C, H, W) of ``classes`` (B, H, W) teach, by name."""
        student = run.student
        if not self.feature_weight:
            return {"supervised": self.labelled_loss(student(images), classes)}
        features = student.encode(images)
        logits = student.resize(student.classify(student.decode(features)), images.shape[-2:])
        first = run.parts["first"]
        assert isinstance(first, FirstFeatures)
        distance = first.distance(features[-1], images, classes, self.filled)
        return {
            "supervised": self.labelled_loss(logits, classes),
            "features": self.feature_weight * distance,
        }

    def learned(self, proposed: Tensor) -> Tensor:
        """(B, H, W) float, 1 where a proposal of the target domain is learned at all."""
        top, bottom = self.rows_left_out
        row = torch.arange(proposed.shape[1], device=proposed.device)[:, None]
        return ((proposed != UNKNOWN) & (row >= top) & (row < len(row) - bottom)).float()

    def final(self, run: PixelRun) -> Segmenter:
        return run.student


class FirstFeatures(nn.Module):
    """The encoder that a run began with, which never changes, and the classes of things.

    Args:
        student: before its first step.
        things: the names of classes; upper and lower case are the same.

    Raises:
        ConfigError: the model has none of these classes.
    """

    is_thing: Tensor

    def __init__(self, student: Segmenter, things: tuple[str, ...]) -> None:
        super().__init__()
        wanted = {name.lower() for name in things}
        is_thing = torch.tensor([name.lower() in wanted for name in student.classes])
        if not bool(is_thing.any()):
            raise ConfigError(
                f"None of the things {', '.join(things) or '(none)'} is a class of the data.",
                "some of " + ", ".join(student.classes),
                "name the classes of things with things=[...], or set feature_weight=0",
            )
        self.model = copy.deepcopy(student).requires_grad_(False)
        self.register_buffer("is_thing", is_thing)
        self.train()

    def train(self, mode: bool = True) -> FirstFeatures:
        """It is always in eval mode."""
        return super().train(False)

    def distance(self, features: Tensor, images: Tensor, classes: Tensor, least: float) -> Tensor:
        """The mean distance of coarse ``features`` (B, D, h, w) of ``images`` (B, C, H, W) to the
        first ones, over the places of which a thing fills the share ``least``; 0-d."""
        with torch.no_grad():
            first = self.model.encode(images)[-1]
        size = (features.shape[2], features.shape[3])
        found = patch_classes(classes, size, len(self.is_thing), least)
        things = (found != UNKNOWN) & self.is_thing[found.clamp_min(0)]
        return masked_feature_distance(features, first, things)
