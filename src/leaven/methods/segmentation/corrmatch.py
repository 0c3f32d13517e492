"""CorrMatch: a learned map of which pixels belong together spreads predictions and labels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.learn import pixel_divergence
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.methods.segmentation.weak_strong import Aim, Said, Step, WeakStrong, unlabelled_loss
from leaven.models.segmentation import CorrelationHead, Segmenter
from leaven.refine import regions_of_rows, spread_by_correlation, vote_in_regions
from leaven.select import MovingThreshold
from leaven.train.pixel_trainer import PixelTrainer


class CorrMatch(WeakStrong):
    """CorrMatch (Sun et al., CVPR 2024): UniMatch's step with one strong view, and a correlation map.

    A head on the coarsest feature map gives ``A`` (``CorrelationHead``), and with the logits as
    constants ``z' = z A``. ``G`` is a ``MovingThreshold``. Rows of ``A`` of the weak view are regions;
    without the pasted rectangle and padding they carry the class on which their trusted pixels agree
    to all of their pixels (``vote_in_regions``, both limits G). With ``C = [max p >= G]``, pasted as
    CutMix does, and ``C+`` that with the regions::

        loss = 1/2 [ 1/2 CE(z_x, y_x) + 1/2 CE(z'_x, y_x) + 1/4 U(z_s, y+, C+) + 1/4 KL(p, z_s; C)
                     + 1/4 U(z_f, y, C) + 1/4 * 1/2 (U(z'_s, y+, C+) + U(z'_w, y, C)) ]

    As released, ``p`` in KL is that of the weak view also where the strong one shows its partner.
    Here G learns from the pixels of the weak view that show a picture (there: of the mixed one), and
    rows are drawn for each picture (there: for a batch). The head is not part of the model that is
    used after the run, which is the averaged student, as with every method here.
    """

    card: ClassVar[Card] = Card(
        name="corrmatch",
        title="CorrMatch: Label Propagation via Correlation Matching for Semi-Supervised Semantic "
        "Segmentation",
        summary="A learned correlation map spreads predictions, and labels over regions that agree.",
        task="segmentation",
        evidence="label maps",
        year=2024,
        venue="CVPR",
        paper="https://arxiv.org/abs/2306.04300",
        code="https://github.com/BBBBchan/CorrMatch",
        number=87,
        parts=(
            "models.segmentation.CorrelationHead",
            "refine.spread_by_correlation",
            "refine.regions_of_rows",
            "refine.vote_in_regions",
            "select.MovingThreshold",
            "learn.pixel_divergence",
            "learn.pixel_cross_entropy",
            "learn.one_rectangle",
            "learn.drop_channels",
            "data.transforms.StrongColour",
            "train.EMA",
        ),
        claim="Pascal VOC, ResNet-101, 92 label maps: 76.4 % mIoU, 1464: 81.8 %.",
        measured="60 of 2,000 scenes with digits labelled, 4,000 steps, 3 seeds, mean IoU: 61.7 %, UniMatch "
        "58.1 %, labels alone 47.3 %. CamVid at 72x96, 20 maps, 400 steps from random weights: 25.2 % "
        "against 25.3 % of UniMatch and 25.5 % of the labels alone; at 120x160 with a U-Net, 1,500 steps, 32.7, "
        "32.3 and 33.1. Regions find 1.2 to 1.7 points more of the pixels, at 0.5 to 0.8 points less "
        "precision.",
    )

    start: float = Field(0.85, ge=0, le=1, description="first value of the threshold G")
    momentum: float = Field(0.999, ge=0, lt=1, description="of G")
    regions: int = Field(128, ge=0, description="regions that are drawn per picture; 0 for none")
    width: int = Field(256, ge=1, description="channels of the correlation head")
    correlation_share: float = Field(
        0.5, ge=0, le=1, description="share of the spread logits in the labelled loss"
    )
    correlation_weight: float = Field(
        0.25, ge=0, description="weight of the unlabelled losses of spread logits"
    )
    divergence_weight: float = Field(0.25, ge=0, description="weight of KL(weak, strong)")
    views: int = Field(1, ge=1, le=1, description="strong views with a CutMix; one")
    feature_weight: float = Field(
        0.25, ge=0, description="weight of the loss of each view with channels left out"
    )

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trainer.settings.seed)
            head = CorrelationHead(student.encoder_channels[-1], student.num_classes, self.width)
        threshold = MovingThreshold(student.num_classes, self.start, self.momentum, trainer.gather)
        return {"correlation": head, "select": threshold}

    def select(self, run: PixelRun, probs: Tensor, valid: Tensor) -> Tensor:
        weight: Tensor = _threshold(run)(probs.amax(1))
        return weight

    def look(self, run: PixelRun) -> Step:
        step = super().look(run)
        confidence, classes = step.own.logits.detach().softmax(1).max(1)
        _threshold(run).update(confidence, classes, step.valid)
        step.further["correlation"] = _head(run)(torch.cat([step.labelled.maps, step.own.maps]))
        return step

    def paste(self, step: Step, mask: Tensor) -> Aim:
        aim, run = super().paste(step, mask), step.run
        step.further["certain"] = aim.weight
        if not self.regions:
            return aim
        _, weak = self._correlations(step)
        height, width = step.own.maps.shape[-2:]
        size = step.weak.geometry.view
        regions = regions_of_rows(weak, (height, width), size, run.draws, self.regions)
        regions &= (aim.valid & ~mask)[:, None]
        limit = _threshold(run).level
        classes, trusted = vote_in_regions(
            aim.classes, aim.weight > 0, regions, limit, run.student.num_classes
        )
        return Aim(classes, trusted.to(aim.weight.dtype), aim.valid)

    def learn(self, step: Step) -> dict[str, Tensor]:
        losses = super().learn(step)
        student, believed, aim = step.run.student, step.believed, step.strong[0].aim
        labelled, weak = (
            _spread(student, said, correlation)
            for said, correlation in zip((step.labelled, step.own), self._correlations(step))
        )
        strong = _spread(student, step.said[0], _head(step.run)(step.said[0].maps))

        share = self.correlation_share
        both = share * self.labelled_loss(labelled, step.targets) / 2
        losses["supervised"] = (1 - share) * losses["supervised"] + both
        certain = step.further["certain"]
        divergence = pixel_divergence(step.said[0].logits, believed.probs, certain, aim.valid)
        losses["divergence"] = self.divergence_weight / 2 * divergence
        own = Aim(believed.classes, believed.weight, believed.valid)
        spread = (unlabelled_loss(strong, aim) + unlabelled_loss(weak, own)) / 2
        losses["correlation"] = self.correlation_weight / 2 * spread
        return losses

    def notes(self, step: Step) -> dict[str, Any]:
        certain = (step.further["certain"] > 0).float().mean()
        return {"threshold": _threshold(step.run).level.clone(), "certain_share": certain}

    def _correlations(self, step: Step) -> tuple[Tensor, Tensor]:
        """Of the labelled view and of the weak one."""
        both = step.further["correlation"]
        count = len(step.labelled.maps)
        return both[:count], both[count:]


def _spread(student: Segmenter, said: Said, correlation: Tensor) -> Tensor:
    """The logits, made as small as the map, spread along it and made large again."""
    small = student.resize(said.logits.detach(), said.maps.shape[-2:])
    return student.resize(spread_by_correlation(small, correlation), said.logits.shape[-2:])


def _threshold(run: PixelRun) -> MovingThreshold:
    part = run.parts["select"]
    assert isinstance(part, MovingThreshold)
    return part


def _head(run: PixelRun) -> CorrelationHead:
    part = run.parts["correlation"]
    assert isinstance(part, CorrelationHead)
    return part
