"""BCP: labelled and unlabelled pixels meet in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from leaven.data.label_maps import BACKGROUND
from leaven.data.transforms import (
    Geometry,
    Seen,
    mirrored,
    quarter_turned,
    turned,
)
from leaven.errors import ConfigError
from leaven.labels import UNKNOWN
from leaven.learn import MaskedLoss, batch_box, masked_loss, mix
from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun, shown_pixels
from leaven.models.segmentation import Segmenter
from leaven.refine import largest_components
from leaven.train import EMA, Recipe
from leaven.train.pixel_trainer import PixelTrainer

V = TypeVar("V")


class BCP(FewMaps):
    """Bidirectional copy-paste (Bai et al., CVPR 2023), of pictures (2D); for the step on volumes see
    ``bcp_losses``.

    A step has one box for all its pictures, ``box_side`` of each side long; M is 0 in it and 1
    outside. Labelled and unlabelled pictures come in halves a and b.

    1. For the share ``pretrain`` of the run from labels alone: ``x = x_a M + x_b (1 - M)``, the labels
       mixed alike, ``loss = R(x; M) + R(x; 1 - M)``. R is the mean of cross entropy and Dice of a
       region, each by the region's own size (``learn.masked_loss``).
    2. The teacher starts as this network. ``P = largest component of each class but the
       background of argmax teacher(u)``, the teacher in train mode, and
       ``loss = alpha R(in; M) + R(in; 1 - M) + R(out; M) + alpha R(out; 1 - M)`` with
       ``in = u_a M + x_a (1 - M)`` and ``out = x_b M + u_b (1 - M)``, targets mixed alike.

    Weights and batch statistics of the teacher are averaged with a constant decay; the student
    predicts. Stage 2 goes on with the optimiser of stage 1. It starts from the last weights of
    stage 1, in the authors' code from those that were best on validation scans. Weak views: in half
    of the cases a quarter turn and a mirror, in half of the others a turn of up to 20 degrees.
    """

    card: ClassVar[Card] = Card(
        name="bcp",
        title="Bidirectional Copy-Paste",
        summary="A labelled box in unlabelled pictures and the other way round, each part learned.",
        task="segmentation",
        evidence="label maps",
        year=2023,
        venue="CVPR",
        paper="https://arxiv.org/abs/2305.00673",
        code="https://github.com/DeepMed-Lab-ECNU/BCP",
        number=72,
        parts=(
            "refine.largest_components",
            "learn.batch_box",
            "learn.mix",
            "learn.masked_loss",
            "train.EMA",
        ),
        claim="ACDC, 3 labelled patients: Dice 87.6 %, more than 21 points above the best before.",
        measured="Nuclei, of which a picture shows many, 12 labelled, 3 seeds, Dice: 56.8 % (pictures that "
        "are not mixed 46.5 %), 53.8 % with all components (not mixed 51.0 %), stage 1 alone 55.2 %. Seeds "
        "spread by 5 points, those of the others by 13 to 20.",
    )

    batch: int = Field(4, ge=2, multiple_of=2, description="labelled pictures per step, in halves")
    ratio: int = Field(1, ge=1, le=1, description="as many unlabelled pictures")
    recipe: Recipe = Field(
        Recipe(lr=0.01, nesterov=False, weight_decay=1e-4, schedule="constant"),
        description="how the weights are moved",
    )
    scale: tuple[float, float] = Field(
        (1.0, 1.0), description="weak views are turned and mirrored, never scaled"
    )
    pretrain: float = Field(0.25, ge=0, le=1, description="share of the run from labels alone")
    box_side: float = Field(2 / 3, ge=0, le=1, description="sides of the box, of the picture's")
    pseudo_weight: float = Field(
        0.5, ge=0, description="alpha, weight of a region that the teacher has labelled"
    )
    largest: bool = Field(
        True,
        description="keep the largest component of each class but the background; false where a "
        "picture shows many",
    )

    @field_validator("hard_pixels", "hard_threshold", "hard_least")
    @classmethod
    def _of_regions(cls, value: V, info: ValidationInfo) -> V:
        if value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("the loss of bcp is one of whole regions; it leaves no pixels out")
        return value

    @field_validator("scale")
    @classmethod
    def _never_scaled(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale != (1.0, 1.0):
            raise ValueError("the weak views of bcp are turned and mirrored, never scaled")
        return scale

    def student(self, trainer: PixelTrainer) -> Segmenter:
        """A fresh model of the run.

        Raises:
            ConfigError: largest components are wanted, and no class is the background.
        """
        if self.largest:
            background_of(trainer.data.classes)
        return super().student(trainer)

    def average(self, student: Segmenter) -> EMA[Segmenter]:
        average = EMA(student, self.ema, average_buffers=True, warm_up=False)
        average.module.train()
        return average

    def weak(self, run: PixelRun, images: Tensor) -> Seen:
        count, size, host = len(images), (images.shape[2], images.shape[3]), run.draws.host()
        kind, degrees = host.uniform(count), host.uniform(count, low=-20.0, high=20.0)
        by_quarters = _quarters(host.integers(count, high=4), size).then(
            _mirrored(host.flags(count), size)
        )
        by_degrees = turned(torch.where(kind < 0.75, degrees, 0.0), size)
        matrix = torch.where((kind < 0.5)[:, None, None], by_quarters.matrix, by_degrees.matrix)
        geometry = Geometry(matrix, size, size)
        return Seen(geometry.images(images), geometry)

    def loss(self, run: PixelRun) -> Tensor:
        images, classes = self.labelled(run)
        box = batch_box((images.shape[2], images.shape[3]), run.draws, self.box_side)
        if run.progress < self.pretrain:
            return self.labels_alone(run, images, classes, box)
        sample = run.batch.unlabelled
        seen = self.weak(run, sample.images)
        proposed, confidence = self.propose(run, seen)
        inward, outward = bcp_losses(
            run.student, (images, classes), (seen.images, proposed), box, self.pseudo_weight
        )
        run.trainer.observe(
            losses={"inward": inward, "outward": outward},
            weight=(proposed != UNKNOWN) * self.pseudo_weight,
            proposed=proposed,
            confidence=confidence,
            truth=seen.geometry.maps(run.trainer.truth(sample.items)),
        )
        return inward + outward

    def labels_alone(self, run: PixelRun, images: Tensor, classes: Tensor, box: Tensor) -> Tensor:
        """Stage 1: a labelled box in labelled pictures."""
        loss = bcp_labelled_loss(run.student, images, classes, box)
        run.trainer.observe(losses={"supervised": loss})
        return loss

    @torch.no_grad()
    def propose(self, run: PixelRun, seen: Seen) -> tuple[Tensor, Tensor]:
        """(B, H, W) classes of unlabelled views, -1 beside the picture, and their confidence."""
        logits = torch.cat([run.teacher(half) for half in seen.images.chunk(2)])
        confidence, said = logits.softmax(1).max(1)
        classes = torch.where(shown_pixels(run, seen), said, UNKNOWN)
        if self.largest:
            background = background_of(run.student.classes)
            classes = largest_components(classes, run.student.num_classes, background)
        return classes, confidence

    def after(self, run: PixelRun) -> None:
        if run.progress < self.pretrain:
            run.average.module.load_state_dict(run.student.state_dict())
        else:
            super().after(run)

    def final(self, run: PixelRun) -> Segmenter:
        return run.student


def background_of(classes: Sequence[str]) -> int:
    """The class that is called background, in upper or lower case.

    Raises:
        ConfigError: there is none.
    """
    names = [name.lower() for name in classes]
    if BACKGROUND not in names:
        raise ConfigError(
            "The largest component of each class is kept and the rest becomes background, and no "
            f"class is called {BACKGROUND}.",
            f"a class {BACKGROUND} beside {', '.join(classes)}",
            "set largest=false, or give the class of what is nothing that name",
        )
    return names.index(BACKGROUND)


def bcp_losses(
    student: nn.Module,
    labelled: tuple[Tensor, Tensor],
    unlabelled: tuple[Tensor, Tensor],
    box: Tensor,
    pseudo_weight: float = 0.5,
    loss: MaskedLoss = masked_loss,
) -> tuple[Tensor, Tensor]:
    """The two losses of stage 2, inward and outward, of pictures or volumes.

    With halves a and b of both and M = 0 in the box: ``alpha R(u_a M + x_a (1 - M); M) + R(the same;
    1 - M)`` and ``R(x_b M + u_b (1 - M); M) + alpha R(the same; 1 - M)``, targets mixed alike.

    For volumes, as the authors have it::

        box = batch_box(x.shape[2:], draws)
        with torch.no_grad():
            proposed = largest_components(foreground(teacher(u)), 2)
        inward, outward = bcp_losses(
            student, (x, y), (u, proposed), box, loss=masked_loss_by_sample
        )
        (inward + outward).backward()  # then EMA(student, 0.99, warm_up=False, own_buffers=True)

    and ``propose.predict_windows(student, volume, (112, 112, 80), (18, 18, 4))`` after the run.

    Args:
        student: (b, C, *S) to logits (b, K, *S).
        labelled: (2b, C, *S) and their classes (2b, *S) int64, -1 where unknown.
        unlabelled: as many, and the classes that a teacher proposes.
        box: (1, *S) bool, see ``learn.batch_box``.
        pseudo_weight: alpha.
        loss: R, of logits, targets and a mask.

    Returns:
        Two 0-d tensors.

    Raises:
        ValueError: an odd number of pictures, or not as many of both.
    """
    if len(labelled[0]) % 2 or len(labelled[0]) != len(unlabelled[0]):
        raise ValueError(
            f"halves of as many labelled and unlabelled pictures, not {len(labelled[0])} and "
            f"{len(unlabelled[0])}"
        )

    def of_parts(images: Tensor, target: Tensor, proposed: Tensor, given: Tensor) -> Tensor:
        logits = student(images)
        return pseudo_weight * loss(logits, target, proposed) + loss(logits, target, given)

    (x_a, x_b), (y_a, y_b) = (both.chunk(2) for both in labelled)
    (u_a, u_b), (p_a, p_b) = (both.chunk(2) for both in unlabelled)
    inward = of_parts(mix(box, u_a, x_a), mix(box, p_a, y_a), ~box, box)
    outward = of_parts(mix(box, x_b, u_b), mix(box, y_b, p_b), box, ~box)
    return inward, outward


def bcp_labelled_loss(
    student: nn.Module,
    images: Tensor,
    classes: Tensor,
    box: Tensor,
    loss: MaskedLoss = masked_loss,
) -> Tensor:
    """The loss of stage 1 of ``x = x_a M + x_b (1 - M)``.

    Of pictures ``R(x; M) + R(x; 1 - M)``, of volumes ``R(x; all)``: so the authors have them.

    Args:
        student, box, loss: see ``bcp_losses``.
        images: (2b, C, *S), labelled.
        classes: (2b, *S) int64, -1 where unknown.
    """
    mixed, target = (mix(box, *both.chunk(2)) for both in (images, classes))
    logits = student(mixed)
    regions = [box, ~box] if images.ndim == 4 else [torch.ones_like(box)]
    return torch.stack([loss(logits, target, region) for region in regions]).sum()


def _quarters(turns: Tensor, size: tuple[int, int]) -> Geometry:
    """Quarter turns of square pictures; half turns of others, where a quarter does not fit."""
    if size[0] == size[1]:
        return quarter_turned(turns, size[0])
    half = turns % 2 == 1
    return mirrored(half, size).then(mirrored(half, size, upside_down=True))


def _mirrored(across: Tensor, size: tuple[int, int]) -> Geometry:
    """Left and right exchanged where ``across``, top and bottom elsewhere."""
    return mirrored(across, size).then(mirrored(~across, size, upside_down=True))
