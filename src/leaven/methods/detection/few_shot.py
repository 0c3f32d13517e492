"""Few-shot detection: a few boxes of new classes beside many of others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data, ImageSet
from leaven.data.transforms import ColourJitter, ScaleCropFlip
from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.labels import BoxLabels
from leaven.methods.base import Card, Fitted, Method
from leaven.methods.detection.few_boxes import FittedBoxes, total
from leaven.methods.detection.two_stage_teacher import finds_boxes_in_two_stages
from leaven.models.detection import Detector, TwoStage, best_overlap, build_detector
from leaven.models.detection.box_head import DeltaHead
from leaven.models.detection.regions import rank_in_group
from leaven.synthesize import mosaic
from leaven.train import BoxTrainer, Recipe

_DETECTOR = "rcnn-small"
State = dict[str, Tensor]


@dataclass(frozen=True)
class Shots:
    """What is known of the classes.

    Attributes:
        novel: (K,) bool, the classes of which there are a few boxes alone.
        images: the pictures with a shot of any class. Boxes that are known and no shot are ignore
            regions (``crowd``).
        base: the labelled pictures with the boxes of the other classes.
        chosen: (n,) bool, of the labelled pictures those with a shot of any class.
    """

    novel: Tensor
    images: ImageSet[BoxLabels]
    base: ImageSet[BoxLabels]
    chosen: Tensor


class FewShot(Method):
    """Two-step fine-tuning (Wang et al., ICML 2020), as the detector that 034 begins with.

    Labelled pictures have all boxes of the *base* classes, and of a *novel* class only its shots: a
    novel thing without a box is not said to be absent. With K the largest number of boxes of a
    novel class, the shots of a base class are K of its boxes, drawn once.

    1. The detector learns the base classes.
    2. New outputs (classes and boxes) learn the shots of novel classes on it; all else is fixed.
    3. Both sets of outputs are put into one head, with the background of step 1.
    4. It learns the shots of all classes; the backbone is fixed, proposals and head are not.

    In steps 1 and 2 the other classes take no part in the softmax. The steps divide the budget in
    the proportion of their ``_length``, which are thousands of steps in the papers. Pictures are
    mosaics with probability ``mosaic``, then a crop, a mirror and other colours.

    In the papers what is known and no shot is background in step 4; here it is ignored, because
    small data have many base things in one picture.
    """

    card: ClassVar[Card] = Card(
        name="few-shot",
        title="Frustratingly Simple Few-Shot Object Detection",
        summary="A detector of many boxes is fine-tuned to a few boxes of all classes.",
        task="detection",
        evidence="a few boxes of new classes",
        year=2020,
        venue="ICML",
        paper="https://arxiv.org/abs/2003.06957",
        code="https://github.com/ucbdrive/few-shot-object-detection",
        parts=("models.detection.CosineHead", "synthesize.mosaic"),
        claim="The usual baseline of few-shot detection.",
    )
    needs_unlabelled: ClassVar[bool] = False

    batch: int = Field(4, ge=1, description="pictures per step")
    recipe: Recipe = Field(
        Recipe(optimizer="adamw", lr=2e-3, weight_decay=1e-4, schedule="poly", clip=10),
        description="how the weights are moved where there are many boxes",
    )
    fine_recipe: Recipe = Field(
        Recipe(optimizer="adamw", lr=5e-4, weight_decay=1e-4, schedule="poly", clip=10),
        description="how the weights are moved where there are a few boxes",
    )
    novel: tuple[str, ...] = Field(
        (), description="names of the new classes; none: those with no more boxes than most_shots"
    )
    most_shots: int = Field(30, ge=1, description="boxes up to which a class is a new one")
    base_length: float = Field(110, gt=0, description="length of step 1, base classes")
    novel_length: float = Field(6, gt=0, description="length of step 2, outputs of new classes")
    shots_length: float = Field(132, gt=0, description="length of step 4, shots of all classes")
    scale: tuple[float, float] = Field(
        (1.0, 1 / 0.7), description="range of the scale of a view, which is cropped to one size"
    )
    jitter: float = Field(0.4, ge=0, description="strength of the changes of colour")
    mosaic: float = Field(0.5, ge=0, le=1, description="probability of a mosaic")
    label_threshold: float = Field(
        0.7, ge=0, le=1, description="score from which a thing of the result is accepted"
    )

    @property
    def length(self) -> float:
        """Of the whole run."""
        return self.base_length + self.novel_length + self.shots_length

    def fit(self, data: Data[BoxLabels], trainer: BoxTrainer) -> FittedBoxes:
        return self.fitted(trainer, self.detector(data, trainer))

    def fitted(self, trainer: BoxTrainer, model: Detector, note: str = "") -> FittedBoxes:
        """The model, and what it finds in the unlabelled pictures, accepted by score alone."""
        labels = trainer.label(model, trainer.data.unlabelled, self.label_threshold)
        return Fitted(model.eval(), labels, note=note)

    # -- what is known ----------------------------------------------------------------------------

    def shots(self, data: Data[BoxLabels], seed: int) -> Shots:
        """The shots of all classes, and the base boxes.

        Raises:
            ConfigError: an unknown class, no new class, no base class, or a new one without a box.
        """
        labels = data.labelled.labels
        counts = torch.bincount(labels.classes[~labels.crowd], minlength=len(data.classes))
        novel = self._novel(data.classes, counts)
        most = int(counts[novel].max())
        base = ~novel[labels.classes] | labels.crowd
        chance = torch.rand(len(base), generator=torch.Generator().manual_seed(seed))
        drawn = torch.zeros_like(base)
        free = (base & ~labels.crowd).nonzero().squeeze(1)
        drawn[free] = rank_in_group(chance.to(base.device)[free], labels.classes[free]) < most
        shot = (~base & ~labels.crowd) | drawn
        pictures = torch.bincount(labels.pictures[shot], minlength=len(labels)) > 0
        few = replace(labels, crowd=~shot, masks=None)
        only_base = replace(labels.keep(base), masks=None)
        return Shots(
            novel,
            replace(data.labelled, labels=few).subset(pictures),
            replace(data.labelled, labels=only_base),
            pictures,
        )

    def _novel(self, classes: tuple[str, ...], counts: Tensor) -> Tensor:
        unknown = sorted(set(self.novel) - set(classes))
        if unknown:
            raise ConfigError(
                f"There is no class {unknown[0]!r}.",
                "classes among " + ", ".join(classes),
                "name those of which there are a few boxes alone",
            )
        novel = torch.tensor([name in self.novel for name in classes])
        if not self.novel:
            novel = counts.cpu() <= self.most_shots
        without = [name for name, n, c in zip(classes, novel, counts, strict=True) if n and not c]
        if without or not bool(novel.any()) or bool(novel.all()):
            raise ConfigError(
                f"Of the classes {', '.join(classes)} there are {counts.tolist()} boxes, and "
                f"{int(novel.sum())} of them are taken as new.",
                "one or more new classes, each with a box, and one or more that are not new",
                "name the new classes with novel, or choose another most_shots",
            )
        return novel.to(counts.device)

    # -- the network ------------------------------------------------------------------------------

    def student(self, trainer: BoxTrainer) -> TwoStage:
        """A fresh two-stage detector; with classes by cosine where none is named.

        Raises:
            ConfigError: the network has one stage, masks, or another way to say where a box is.
        """
        settings = trainer.settings
        if settings.model in ("auto", _DETECTOR):
            options: dict[str, Any] = {"box_head": "cosine", **settings.options}
            model: Detector = trainer.built(
                lambda mean, std: build_detector(
                    _DETECTOR,
                    trainer.data.classes,
                    trainer.data.shape,
                    mean=mean,
                    std=std,
                    weights=settings.weights,
                    options=options,
                )
            )
        else:
            model = trainer.model()
        if not finds_boxes_in_two_stages(model) or not isinstance(model.box, DeltaHead):
            raise ConfigError(
                f"{self.card.name} learns boxes, with a head that has outputs for each class, and "
                f"{model.spec.name!r} is another kind.",
                "a two-stage detector without masks, with the box head 'cosine' or 'delta'",
                f"use --model {_DETECTOR}, or none",
            )
        return model

    # -- the steps --------------------------------------------------------------------------------

    def detector(self, data: Data[BoxLabels], trainer: BoxTrainer) -> TwoStage:
        """The few-shot detector, in eval mode."""
        found = trainer.once("few-shot", lambda: {"weights": self._trained(data, trainer)})
        model = self.student(trainer)
        model.load_state_dict(found["weights"])
        return model.eval()

    def _trained(self, data: Data[BoxLabels], trainer: BoxTrainer) -> State:
        shots = self.shots(data, trainer.settings.seed)
        novel = shots.novel.to(trainer.device)
        base = self.student(trainer)
        loss = partial(detector_losses, absent=novel)
        self.learn(trainer, base, shots.base, "base", self.base_length, self.recipe, loss)

        new = with_outputs(base, self.student(trainer), torch.ones_like(novel), background=True)
        new.requires_grad_(False)
        for part in outputs_of(new):
            part.requires_grad_(True)
        seen = shots.images.labels
        of_new = seen.keep(shots.novel[seen.classes] & ~seen.crowd)
        images = replace(shots.images, labels=of_new).subset(of_new.counts > 0)
        loss = partial(detector_losses, absent=~novel)
        self.learn(trainer, new, images, "novel", self.novel_length, self.fine_recipe, loss)

        both = with_outputs(base, new, novel)
        both.backbone.requires_grad_(False)
        self.learn(
            trainer, both, shots.images, "shots", self.shots_length, self.fine_recipe,
            detector_losses, watch=both,
        )  # fmt: skip
        return {name: value.clone() for name, value in both.state_dict().items()}

    def learn(
        self,
        trainer: BoxTrainer,
        model: nn.Module,
        images: ImageSet[BoxLabels],
        name: str,
        length: float,
        recipe: Recipe,
        loss: Callable[..., dict[str, Tensor]],
        watch: Detector | None = None,
    ) -> None:
        """One step of the method: the model learns by ``loss(model, images, labels, draws)``."""
        optimizer = trainer.optimizer(model, recipe)
        registered: dict[str, Any] = {name: model, f"{name}-optimizer": optimizer}
        trainer.register(**registered)
        share = length / self.length
        streams: dict[str, Any] = {"pictures": images.batches(self.batch)}
        for batch in trainer.steps(share=share, name=name, watch=watch, streams=streams):
            model.train()
            _keep_still(model)
            view, labels = self.view(trainer, batch.pictures.images, batch.pictures.targets)
            losses = loss(model, view, labels, trainer.draws)
            trainer.observe(losses={"supervised": total(losses)})
            trainer.update(total(losses), optimizer)

    def view(
        self, trainer: BoxTrainer, images: Tensor, labels: BoxLabels
    ) -> tuple[Tensor, BoxLabels]:
        """Mosaics of some, then a scaled, cropped and mirrored view in other colours."""
        draws, flip = trainer.draws, trainer.data.flip
        images, labels = mosaic(images, labels, draws, probability=self.mosaic)
        seen = ScaleCropFlip(scale=self.scale, flip=flip, fill=114)(images, draws)
        colours = ColourJitter(self.jitter, self.jitter, self.jitter, min(0.5, self.jitter / 4))
        return colours(seen.images, draws), seen.geometry.labels(labels)


def detector_losses(
    model: TwoStage,
    images: Tensor,
    labels: BoxLabels,
    draws: Draws,
    *,
    absent: Tensor | None = None,
    propose_ignored: bool = False,
) -> dict[str, Tensor]:
    """The losses of a two-stage detector whose second stage passes over ignore regions.

    A proposal whose best IoU with an ignore region is above the one that makes a positive is
    labelled -1: it is not drawn and has no loss.

    Args:
        absent: (K,) bool, classes that take no part in the softmax; no box is of one.
        propose_ignored: whether an ignore region is a thing to the proposal network, as in the
            published code of 034, so that what may lie there is still looked at; else it passes
            over them, by the rule of COCO's crowds.
    """
    things, ignored = labels.keep(~labels.crowd), labels.keep(labels.crowd)
    features = model.features(images)
    anchors = model.rpn(features)
    proposed = replace(labels, crowd=torch.zeros_like(labels.crowd)) if propose_ignored else labels
    losses = model.rpn_losses(anchors, proposed, draws)
    regions = model.propose(anchors)
    regions = regions.keep(best_overlap(regions, ignored) <= model.rules.threshold)
    chosen = model.sample(regions, things, draws)
    outputs = model.roi_outputs(features, chosen.regions)
    if absent is not None:
        never = torch.cat([absent, absent.new_zeros(1)])
        outputs = replace(outputs, logits=outputs.logits.masked_fill(never, -torch.inf))
    losses["roi_class"] = model.roi_class_loss(outputs, chosen.labels)
    losses["roi_box"] = model.roi_box_loss(outputs, chosen)
    return losses


def outputs_of(model: TwoStage) -> tuple[nn.Module, nn.Module]:
    """What says the classes and what says the boxes of a region."""
    assert isinstance(model.box, DeltaHead)
    return model.box.class_logits, model.box.deltas


@torch.no_grad()
def with_outputs(
    model: TwoStage, other: TwoStage, classes: Tensor, *, background: bool = False
) -> TwoStage:
    """A copy of ``model`` with the outputs of ``other`` for ``classes`` (K,) bool.

    Args:
        background: take its output for the background too.
    """
    mixed = copy.deepcopy(model)
    classes = torch.cat([classes, classes.new_full((1,), background)])
    rows = classes, classes[:-1].repeat_interleave(4)
    for own, theirs, chosen in zip(outputs_of(mixed), outputs_of(other), rows, strict=True):
        for mine, its in zip(own.parameters(), theirs.parameters(), strict=True):
            mine[chosen] = its[chosen]
    return mixed


def _keep_still(model: nn.Module) -> None:
    """Batch norm whose weights are fixed keeps its statistics too."""
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not part.weight.requires_grad:
            part.eval()
