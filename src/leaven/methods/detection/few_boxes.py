"""What methods that learn from pictures with a few boxes or masks have in common."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from leaven.data import Data, Sample
from leaven.data.transforms import DETECTOR_COLOURS, ColourChain, ScaleCropFlip, Seen
from leaven.labels import BoxLabels
from leaven.methods.base import Fitted
from leaven.methods.loop import Run, StepMethod
from leaven.models.detection import Detector
from leaven.train import BoxTrainer

BoxRun = Run[BoxTrainer, Detector]
FittedBoxes = Fitted[Detector, BoxLabels]


class FewBoxes(StepMethod[BoxTrainer, Detector]):
    """A few pictures with boxes or masks, and pictures without.

    Weak views are scaled and mirrored, and cut or padded to the size of the pictures. The published
    runs of these methods cut nothing: they set the short side, Soft Teacher, PAIS and
    Consistent-Teacher to 400 to 1200 pixels.
    """

    scale: tuple[float, float] = Field((0.8, 1.2), description="range of the scale of weak views")
    label_threshold: float = Field(
        0.7, ge=0, le=1, description="score from which a thing of the result is accepted"
    )

    def weak(self, run: BoxRun, images: Tensor) -> Seen:
        """A weak view of pictures (B, C, H, W), with what it did to them."""
        view = ScaleCropFlip(scale=self.scale, flip=run.trainer.data.flip, fill=114)
        return view(images, run.draws)

    def labelled(self, run: BoxRun) -> tuple[Tensor, BoxLabels]:
        """Weak views of the labelled pictures of the step, and what is where in them."""
        sample: Sample = run.batch.labelled
        seen = self.weak(run, sample.images)
        return seen.images, seen.geometry.labels(sample.targets)

    def supervised(self, run: BoxRun) -> dict[str, Tensor]:
        """The losses of the student on the labelled pictures of the step, by name."""
        images, things = self.labelled(run)
        return run.student.losses(images, things, run.draws)

    def fit(self, data: Data[BoxLabels], trainer: BoxTrainer) -> FittedBoxes:
        return self.fitted(trainer, self.final(self.train(trainer)))

    def fitted(self, trainer: BoxTrainer, model: Detector) -> FittedBoxes:
        """The model, and what it finds in the unlabelled pictures, accepted by score alone."""
        labels = trainer.label(model, trainer.data.unlabelled, self.label_threshold)
        return Fitted(model.eval(), labels)


def recoloured(run: BoxRun, images: Tensor) -> Tensor:
    """Pictures (B, C, H, W) uint8 with one operation of ``DETECTOR_COLOURS`` each."""
    return ColourChain(1, 1, DETECTOR_COLOURS)(images, run.draws)


def total(losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of 0-d losses."""
    return torch.stack(list(losses.values())).sum()
