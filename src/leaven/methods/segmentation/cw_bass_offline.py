"""CW-BASS in stages: a teacher labels all pictures, a new student learns, twice."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.dataset import T
from leaven.data.pixel_maps import PixelMaps
from leaven.labels import UNKNOWN
from leaven.methods.base import Card
from leaven.methods.segmentation.cw_bass import BoundaryAware
from leaven.methods.segmentation.few_maps import FewMaps, FittedPixels, PixelRun, shown_pixels
from leaven.models.segmentation import Segmenter
from leaven.propose import StoredMaps
from leaven.refine import label_borders
from leaven.select import mean_confidence_threshold, prediction_stability
from leaven.train.pixel_trainer import PixelTrainer

MOMENTS = (1 / 3, 2 / 3)
"""Shares of the teacher's training after which its weights are kept for the ranking."""


class CWBassStages(BoundaryAware):
    """CW-BASS in stages (IJCNN 2025), as in the paper, with the ranking of ST++.

    1. A teacher learns from the labels alone; it labels every other picture, with a confidence for
       each pixel and one threshold from the mean of all (``select.mean_confidence_threshold``).
    2. The half of the pictures of which the teacher has said the same from early on
       (``select.prediction_stability`` of its weights at 1/3 and 2/3 of stage 1) is reliable. A new
       student learns from the labels and these: ``CE(student(x), y) + unlabelled_weight L_u`` on
       strong views. Then it labels all pictures anew.
    3. Another new student learns from the labels and all pictures.

    Without ``ranking`` stage 2 is left out. Stages have equal shares of the run. The confidence of
    stage s is multiplied by ``decay^(s - 1)``, the paper's decay over rounds. Confidences are kept
    as whole 255ths.
    """

    card: ClassVar[Card] = Card(
        name="cw-bass-stages",
        title="Confidence-Weighted Boundary-Aware Learning, in stages",
        summary="A teacher labels all pictures, the steadily labelled half first; students follow.",
        task="segmentation",
        evidence="label maps",
        year=2025,
        venue="IJCNN",
        paper="https://arxiv.org/abs/2502.15152",
        code="https://github.com/psychofict/CW-BASS",
        number=86,
        parts=(
            "propose.StoredMaps",
            "select.prediction_stability",
            "select.mean_confidence_threshold",
            "refine.label_borders",
            "learn.pixel_cross_entropy",
        ),
        claim="VOC, ResNet-50, 1/8 of the labels: 75.8 % mIoU.",
        measured="CamVid at 72x96, 20 maps, 400 steps from random weights, 3 seeds, mean IoU: 20.6 "
        "%, labels alone 25.5 %.",
    )

    ema: float = Field(0.0, ge=0, le=0, description="no weights are averaged: students teach")
    ranking: bool = Field(True, description="learn from the reliable half of the pictures first")
    reliable: float = Field(0.5, gt=0, le=1, description="share of the pictures that is reliable")

    def loss(self, run: PixelRun) -> Tensor:
        """That of a student, see ``_Student``; stage 1 has the supervised one."""
        return self.supervised(run)

    def fit(self, data: Data[PixelMaps], trainer: PixelTrainer) -> FittedPixels:
        share = 1 / (3 if self.ranking else 2)
        teacher = _Labeller(**self._of(_Labeller)).train(trainer, share)
        model, stage = teacher.student, 1
        if self.ranking:
            index = self.steady(trainer, teacher)
            model, stage = self.learn(trainer, model, stage, share, index), 2
        everything = torch.arange(len(data.unlabelled))
        return self.fitted(trainer, self.learn(trainer, model, stage, share, everything))

    def learn(
        self, trainer: PixelTrainer, teacher: Segmenter, stage: int, share: float, index: Tensor
    ) -> Segmenter:
        """A new student of the labels and of what ``teacher`` says of the pictures ``index``."""
        student = _Student(**self._of(_Student))
        student.of(stored(trainer, teacher), index, self.decay**stage)
        return student.train(trainer, share).student

    def steady(self, trainer: PixelTrainer, run: PixelRun) -> Tensor:
        """(m,) the reliable pictures: those of the most stable predictions.

        Any of them while a run is replayed: the checkpoint holds which they were.
        """
        earlier = run.parts["earlier"]
        assert isinstance(earlier, nn.ModuleList)
        unlabelled, scores = trainer.data.unlabelled, []
        wanted = max(1, round(self.reliable * len(unlabelled)))
        if trainer.replaying:
            return torch.arange(wanted)
        models = (*earlier, run.student)
        first = 0
        for probs in zip(*(trainer.predict(model, unlabelled) for model in models), strict=True):
            *before, last = (each.argmax(1) for each in probs)
            shown = trainer.shown(torch.arange(first, first + len(last), device=last.device))
            last = last if shown is None else torch.where(shown, last, UNKNOWN)
            first += len(last)
            classes = run.student.num_classes
            scores.append(prediction_stability(torch.stack(before), last, classes))
        return torch.cat(scores).cpu().argsort(descending=True, stable=True)[:wanted].sort().values

    def _of(self, kind: type[FewMaps]) -> dict[str, Any]:
        """The fields of ``kind``, which are also of this method."""
        return {name: getattr(self, name) for name in kind.model_fields}


class _Labeller(FewMaps):
    """Stage 1: the labels alone, and the weights on the way."""

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        copies = [copy.deepcopy(student).requires_grad_(False) for _ in MOMENTS]
        return {"earlier": nn.ModuleList(copies)}

    def loss(self, run: PixelRun) -> Tensor:
        loss = self.supervised(run)
        run.trainer.observe(losses={"supervised": loss})
        return loss

    def after(self, run: PixelRun) -> None:
        super().after(run)
        earlier = run.parts["earlier"]
        assert isinstance(earlier, nn.ModuleList)
        for moment, kept in zip(MOMENTS, earlier, strict=True):
            if run.progress <= moment:
                kept.load_state_dict(run.student.state_dict())


class _Student(BoundaryAware):
    """A later stage: the labels, and what was said of other pictures."""

    _said: StoredMaps = PrivateAttr()
    _index: Tensor = PrivateAttr()
    _factor: float = PrivateAttr()

    def of(self, said: StoredMaps, index: Tensor, factor: float) -> None:
        """Takes what was said, the pictures that count, and the factor of confidences."""
        self._said, self._index, self._factor = said, index, factor

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        return {"said": self._said}

    def streams(self, data: Data[T]) -> dict[str, Any]:
        streams = super().streams(data)
        # Saved with the stream, so that a resumed run goes on with the same pictures.
        streams["unlabelled"].index = self._index
        return streams

    def loss(self, run: PixelRun) -> Tensor:
        said = run.parts["said"]
        assert isinstance(said, StoredMaps)
        sample = run.batch.unlabelled
        seen = self.weak(run, sample.images)
        classes, confidence = said(sample.items)
        proposed = torch.where(shown_pixels(run, seen), seen.geometry.maps(classes), UNKNOWN)
        confidence = seen.geometry.maps(confidence, fill=0)
        everywhere = torch.ones_like(said.mean, dtype=torch.bool)
        threshold = mean_confidence_threshold(
            said.mean, everywhere, self.base_threshold, self.slope, self.bounds
        )
        border = label_borders(proposed, run.student.num_classes)
        kept = self.kept(proposed, confidence, threshold)
        images, kept = self.covered(run, seen.images, kept)

        supervised = self.supervised(run)
        logits = run.student(images)
        unlabelled = self.cost(logits, kept, confidence, border, self._factor)
        run.trainer.observe(
            losses={"supervised": supervised, "unlabelled": unlabelled},
            weight=(kept != UNKNOWN) * (self._factor * confidence) ** self.power,
            proposed=proposed,
            confidence=confidence,
            student=logits.argmax(1),
            truth=seen.geometry.maps(run.trainer.truth(sample.items)),
            confidence_threshold=threshold,
        )
        return supervised + self.unlabelled_weight * unlabelled


def stored(trainer: PixelTrainer, model: Segmenter) -> StoredMaps:
    """What ``model`` says of the unlabelled pictures.

    Empty maps while a run is replayed: the checkpoint holds what was said.
    """
    _, height, width = trainer.data.shape
    said = StoredMaps(len(trainer.data.unlabelled), (height, width)).to(trainer.device)
    if trainer.replaying:
        return said
    unlabelled = trainer.data.unlabelled
    said.fill(trainer.predict(model, unlabelled), trainer.extents["unlabelled"])
    return said
