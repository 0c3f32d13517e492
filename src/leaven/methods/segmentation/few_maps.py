"""What methods that learn from a few label maps have in common."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from leaven.data import Data, Sample
from leaven.data.pixel_maps import PixelMaps
from leaven.data.transforms import ScaleCropFlip, Seen, StrongColour
from leaven.labels import PixelLabels
from leaven.learn import pixel_cross_entropy
from leaven.methods.base import Fitted
from leaven.methods.loop import Run, StepMethod
from leaven.models.segmentation import Segmenter
from leaven.train.pixel_trainer import PixelTrainer

PixelRun = Run[PixelTrainer, Segmenter]
FittedPixels = Fitted[Segmenter, PixelLabels]


class FewMaps(StepMethod[PixelTrainer, Segmenter]):
    """A few label maps, and pictures without one.

    Weak views are scaled, cut and mirrored; strong views change the colours of weak ones.
    """

    scale: tuple[float, float] = Field((0.5, 2.0), description="range of the scale of weak views")
    label_threshold: float = Field(
        0.8, ge=0, le=1, description="confidence from which a pixel of the result is accepted"
    )

    def weak(self, run: PixelRun, images: Tensor) -> Seen:
        """A weak view of pictures (B, C, H, W), with what it did to them."""
        view = ScaleCropFlip(scale=self.scale, flip=run.trainer.data.flip)
        return view(images, run.draws)

    def strong(self, run: PixelRun, images: Tensor) -> Tensor:
        """Weak views (B, C, H, W) with other colours."""
        return StrongColour()(images, run.draws)

    def labelled(self, run: PixelRun) -> tuple[Tensor, Tensor]:
        """Weak views of the labelled pictures of the step, and their classes (B, H, W), -1 where
        unknown or beside the picture."""
        sample: Sample = run.batch.labelled
        seen = self.weak(run, sample.images)
        return seen.images, seen.geometry.maps(sample.targets)

    def supervised(self, run: PixelRun) -> Tensor:
        """The cross entropy of the student on the labelled pictures of the step."""
        images, classes = self.labelled(run)
        return pixel_cross_entropy(run.student(images), classes)

    def final(self, run: PixelRun) -> Segmenter:
        """The network that is used after the run: the teacher."""
        return run.teacher

    def fit(self, data: Data[PixelMaps], trainer: PixelTrainer) -> FittedPixels:
        return self.fitted(trainer, self.final(self.train(trainer)))

    def fitted(self, trainer: PixelTrainer, model: Segmenter) -> FittedPixels:
        """The model, and what it says of the unlabelled pixels, accepted by confidence alone."""
        labels = trainer.label(model, trainer.data.unlabelled, self.label_threshold)
        return Fitted(model.eval(), labels)
