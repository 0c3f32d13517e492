"""Label, Verify, Correct: one offline round of pseudo boxes for classes with a few boxes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from leaven.data import Data
from leaven.labels import BoxLabels
from leaven.methods.base import Card
from leaven.methods.detection.corrections import (
    Correction,
    corrector_losses,
    refined,
)
from leaven.methods.detection.descriptors import Descriptor, describe, learned, published
from leaven.methods.detection.few_boxes import FittedBoxes
from leaven.methods.detection.few_shot import FewShot, Shots, detector_losses
from leaven.models.detection import Regions, TwoStage, best_overlap
from leaven.propose.boxes import predict_boxes
from leaven.refine import neighbour_vote
from leaven.select import new_class_boxes, with_new_classes
from leaven.train import BoxTrainer


@dataclass(frozen=True)
class Sources:
    """What becomes of the boxes that the few-shot detector finds, all of the training pictures.

    Attributes:
        candidates: of new classes, with a high score.
        verified: those whose neighbours say the same class, beside all known boxes.
        corrected: the same with better boxes: the labels to train on.
        ignored: what is neither a thing nor background; it counts where a new box is kept.
    """

    candidates: BoxLabels
    verified: BoxLabels
    corrected: BoxLabels
    ignored: BoxLabels


class LabelVerifyCorrect(FewShot):
    """Label, Verify, Correct (Kaul et al., CVPR 2022).

    Labelled pictures have all boxes of the base classes, and of a novel class only its shots (see
    ``FewShot``). Pictures that nobody labelled may come on top. One round:

    1. **Label.** The few-shot detector D0 is run on all training pictures. Novel boxes with a score
       of ``score`` or more, in pictures without a shot of that class, are candidates. Beside a
       candidate, boxes of its class with lower scores are ignore regions; in unlabelled pictures
       boxes of a base class too, where one of them has such a score.
    2. **Verify.** A square crop of each candidate is described by a frozen encoder. The ``votes``
       nearest shots of *all* classes, by the cosine about the mean of the shots, vote; a candidate
       stays when the majority is its class, and it overlaps no known base box by an IoU over
       ``base_overlap``. The others become ignore regions.
    3. **Correct.** A cascade of three box regressors without classes, trained on proposals of D0 and
       on noisy copies of base boxes, then of shots with its backbone fixed, moves what was verified.
    4. **Train.** D0 goes on, whole, on the pictures that keep a new box and on those with a shot, with
       all that is known there. Ignore regions that overlap a box by an IoU of ``free_overlap`` or more
       are deleted; in the second stage what lies on the others has no loss. To the proposal network
       they are things, as in the published code.

    ``descriptor`` names a frozen encoder with published weights, as the paper's
    ``timm:vit_small_patch8_224.dino``, or the folder of a run. Without one a small net learns by
    itself to tell crops of these pictures apart (``instance_contrast``), which no class is told.
    The corrector starts from the backbone of D0, where the paper's has weights of ImageNet. Round 0
    of the labels has the new boxes beside the known ones.

    The authors look for the nearest true box anew before each stage of the corrector, scale the
    gradients that reach its features by 1/3, and train it on base boxes with the proposals of the
    detector of step 1; here a box keeps its source, gradients are whole and all proposals are of
    D0. A picture with shots alone has no other box and no ignore region in the published last step;
    here it has its base boxes, and no ignore region either. Published rates are those of SGD, 0.02
    for base boxes, 0.01 for new outputs and for the shots of the corrector, 0.001 for the shots of
    all classes and at the end; ``recipe`` and ``fine_recipe`` are AdamW of 2e-3 and 5e-4, for small
    nets from random weights. The end learns at the rate of ``recipe`` here, that of base boxes, where
    the published one is that of the shots.
    """

    card: ClassVar[Card] = Card(
        name="label-verify-correct",
        title="Label, Verify, Correct: A Simple Few Shot Object Detection Method",
        summary="New boxes of a few-shot detector are checked by their neighbours and moved into "
        "place before it learns from them.",
        task="detection",
        evidence="a few boxes of new classes",
        year=2022,
        venue="CVPR",
        paper="https://arxiv.org/abs/2112.05749",
        code="https://github.com/prannaykaul/lvc",
        number=34,
        parts=(
            "select.new_class_boxes",
            "select.with_new_classes",
            "refine.neighbour_vote",
            "data.transforms.square_crops",
            "data.transforms.noisy_boxes",
            "learn.instance_contrast",
            "models.detection.BoxCorrector",
            "models.detection.CosineHead",
            "synthesize.mosaic",
        ),
        claim="Best or second best AP of new classes at all numbers of shots on VOC and COCO, with "
        "the AP of base classes kept.",
        measured="Blood cells at 120x160, 205 photos with all red cells and 5 boxes of each of two other "
        "kinds, random weights, 3 seeds, AP50 of these kinds: 60.1 % against 46.6 % of all new boxes as "
        "they are and 46.1 % of the few-shot detector; red cells 77.9, 78.0 and 42.1 %.",
    )

    score: float = Field(0.8, ge=0, le=1, description="score from which a new box is a candidate")
    votes: int = Field(10, ge=1, description="nearest shots that vote for a class")
    base_overlap: float = Field(
        0.5, ge=0, le=1, description="IoU with a known base box above which a candidate goes"
    )
    free_overlap: float = Field(
        0.5, ge=0, le=1, description="IoU with a box from which an ignore region is deleted"
    )
    descriptor: str | None = Field(
        None, description="frozen encoder for crops; none: a small net that learns from them"
    )
    descriptor_weights: str | None = Field(
        None, description="file or tag of the weights of the encoder; none: its default"
    )
    crop: int | None = Field(
        None, ge=8, description="side of the crops in pixels; none: 224, or 32 for the small net"
    )
    shift: float = Field(0.35, ge=0, description="noise of boxes: of the corner, in sides")
    stretch: float = Field(0.5, ge=0, lt=1, description="noise of boxes: of the sides")
    least_iou: float = Field(0.3, ge=0, lt=1, description="IoU of a noisy box with its source")
    corrections: int = Field(64, ge=1, description="boxes of a picture the corrector learns from")
    descriptor_length: float = Field(
        30, gt=0, description="length of the training of the small net"
    )
    correct_length: float = Field(
        110, gt=0, description="length of the corrector's training on base boxes"
    )
    correct_shots_length: float = Field(
        110, gt=0, description="length of the corrector's training on shots"
    )
    final_length: float = Field(132, gt=0, description="length of the end-to-end training")
    verify: bool = Field(True, description="let neighbours vote")
    correct: bool = Field(True, description="move boxes into place")
    ignore: bool = Field(True, description="pass over what is neither a thing nor background")

    @property
    def length(self) -> float:
        further = self.final_length
        if self.verify and self.descriptor is None:
            further += self.descriptor_length
        if self.correct:
            further += self.correct_length + self.correct_shots_length
        return super().length + further

    def fit(self, data: Data[BoxLabels], trainer: BoxTrainer) -> FittedBoxes:
        detector = self.detector(data, trainer)
        sources = self.sources(data, trainer, detector)
        labels = self.training_labels(data, sources)
        labels = labels.keep(~labels.crowd)
        trainer.save_labels(0, labels.select(~data.train.known), labels)
        model = self.end_to_end(data, trainer, detector, sources)
        note = (
            f"Of {len(sources.candidates.boxes)} boxes of new classes "
            f"{len(sources.corrected.boxes)} were kept."
        )
        return self.fitted(trainer, model, note)

    # -- label, verify, correct -------------------------------------------------------------------

    def sources(self, data: Data[BoxLabels], trainer: BoxTrainer, detector: TwoStage) -> Sources:
        """The new boxes in all training pictures, on the CPU."""
        found = trainer.once("sources", lambda: self._sources(data, trainer, detector))
        return Sources(**{name: _labels(columns) for name, columns in found.items()})

    def _sources(
        self, data: Data[BoxLabels], trainer: BoxTrainer, detector: TwoStage
    ) -> dict[str, Any]:
        shots = self.shots(data, trainer.settings.seed)
        given = replace(data.train.labels, masks=None).cpu()
        found = predict_boxes(detector, data.train.pixels)
        found = replace(found, masks=None)
        chosen = new_class_boxes(found, given, shots.novel.cpu(), self.score)
        candidates, ignored = found.keep(chosen.candidates), found.keep(chosen.ignored)
        # Both nets learn before anything is asked of them, so that a resumed run finds them whole.
        descriptor = self._descriptor(data, trainer, found) if self.verify else None
        correction = self._correction(trainer, detector, shots) if self.correct else None
        verified = candidates
        if descriptor is not None:
            stays = self.verified(data, descriptor, shots, candidates, given)
            verified = candidates.keep(stays)
            ignored = BoxLabels.combined([ignored, candidates.keep(~stays)])
        corrected = verified
        if correction is not None:
            moved = refined(correction, data.train.pixels, verified)
            corrected = replace(verified, boxes=moved)
        trainer.log(
            phase="sources",
            candidates=len(candidates.boxes),
            verified=len(verified.boxes),
            ignored=len(ignored.boxes),
        )
        every = {
            "candidates": candidates,
            "verified": verified,
            "corrected": corrected,
            "ignored": ignored if self.ignore else ignored.keep(torch.zeros_like(ignored.crowd)),
        }
        return {name: _columns(labels) for name, labels in every.items()}

    def _descriptor(
        self, data: Data[BoxLabels], trainer: BoxTrainer, found: BoxLabels
    ) -> Descriptor:
        if self.descriptor is not None:
            side = self.crop or 224
            return published(
                self.descriptor, self.descriptor_weights, data.shape[0], side, trainer.device
            )
        known = replace(data.train.labels, masks=None).cpu()
        places = BoxLabels.combined([known.keep(~known.crowd), found])
        share = self.descriptor_length / self.length
        return learned(trainer, places, self.crop or 32, share, self.recipe)

    def verified(
        self,
        data: Data[BoxLabels],
        descriptor: Descriptor,
        shots: Shots,
        candidates: BoxLabels,
        given: BoxLabels,
    ) -> Tensor:
        """(m,) bool: the neighbours agree with the class, and no base box lies there."""
        few = shots.images.labels.cpu()
        few = few.keep(~few.crowd)
        bank = describe(descriptor, shots.images.pixels, few)
        queries = describe(descriptor, data.train.pixels, candidates)
        vote = neighbour_vote(queries, bank, few.classes, len(data.classes), self.votes)
        base = given.keep(~shots.novel.cpu()[given.classes] & ~given.crowd)
        overlap = best_overlap(Regions(candidates.boxes, candidates.pictures), base)
        return (vote.classes == candidates.classes) & (overlap <= self.base_overlap)

    def _correction(self, trainer: BoxTrainer, detector: TwoStage, shots: Shots) -> Correction:
        correction = Correction(copy.deepcopy(detector)).to(trainer.device)
        loss = partial(
            corrector_losses,
            detector=detector,
            most=self.corrections,
            shift=self.shift,
            scale=self.stretch,
            least_iou=self.least_iou,
        )
        length = self.correct_length
        self.learn(trainer, correction, shots.base, "correct-base", length, self.recipe, loss)
        correction.trunk.requires_grad_(False)
        length = self.correct_shots_length
        self.learn(
            trainer, correction, shots.images, "correct-shots", length, self.fine_recipe, loss
        )
        return correction.eval()

    # -- train ------------------------------------------------------------------------------------

    def learned_from(self, data: Data[BoxLabels], trainer: BoxTrainer, sources: Sources) -> Tensor:
        """(n,) bool: the training pictures that keep a new box, and those with a shot."""
        chosen = sources.corrected.counts > 0
        chosen[data.train.known.cpu()] |= self.shots(data, trainer.settings.seed).chosen.cpu()
        return chosen

    def training_labels(self, data: Data[BoxLabels], sources: Sources) -> BoxLabels:
        """Of all training pictures: what was given, the new boxes, and the ignore regions."""
        given = replace(data.train.labels, masks=None).cpu()
        return with_new_classes(given, sources.corrected, sources.ignored, self.free_overlap)

    def end_to_end(
        self,
        data: Data[BoxLabels],
        trainer: BoxTrainer,
        detector: TwoStage,
        sources: Sources,
    ) -> TwoStage:
        """The few-shot detector after more training, on old and new boxes."""
        model = self.student(trainer)
        model.load_state_dict(detector.state_dict())
        labels = self.training_labels(data, sources)
        images = replace(data.train, labels=labels)
        images = images.subset(self.learned_from(data, trainer, sources))
        loss = partial(detector_losses, propose_ignored=True)
        self.learn(
            trainer, model, images, "final", self.final_length, self.recipe, loss, watch=model
        )
        return model


def _columns(labels: BoxLabels) -> dict[str, Tensor]:
    return {
        field.name: getattr(labels, field.name).cpu()
        for field in fields(labels)
        if field.name != "masks"
    }


def _labels(columns: dict[str, Tensor]) -> BoxLabels:
    return BoxLabels(**columns, masks=None)
