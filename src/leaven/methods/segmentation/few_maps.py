"""What methods that learn from a few label maps have in common."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from leaven.data import Data, Sample
from leaven.data.pixel_maps import PixelMaps
from leaven.data.transforms import ScaleCropFlip, Seen, StrongColour
from leaven.labels import PixelLabels
from leaven.learn import hard_pixel_cross_entropy, pixel_cross_entropy
from leaven.methods.base import Fitted
from leaven.methods.loop import Run, StepMethod
from leaven.models.segmentation import Segmenter
from leaven.train.pixel_trainer import PixelTrainer

PixelRun = Run[PixelTrainer, Segmenter]
FittedPixels = Fitted[Segmenter, PixelLabels]


class FewMaps(StepMethod[PixelTrainer, Segmenter]):
    """A few label maps, and pictures without one.

    Weak views are scaled, cut and mirrored; strong views change the colours of weak ones.

    With ``hard_pixels`` the cross entropy of label maps is that of their hard pixels alone (OHEM, see
    ``learn.hard_pixel_cross_entropy``), as the published methods have it on Cityscapes. What is
    learned of unlabelled pictures stays as it is. A step with at most ``hard_least`` known pixels
    leaves nothing out.

    Unless a method says otherwise its recipe is AdamW at 2e-3 with a falling rate, for small nets
    from random weights. The published codes have SGD, with a rate for the head ten times that of a
    trained encoder in some.
    """

    scale: tuple[float, float] = Field((0.5, 2.0), description="range of the scale of weak views")
    label_threshold: float = Field(
        0.8, ge=0, le=1, description="confidence from which a pixel of the result is accepted"
    )
    hard_pixels: bool = Field(
        False, description="learn the hard pixels of label maps alone (OHEM), as on Cityscapes"
    )
    hard_threshold: float = Field(
        0.7, gt=0, le=1, description="probability of its class up to which a pixel is hard (OHEM)"
    )
    hard_least: int = Field(
        100_000, ge=0, description="pixels per step that are learned however easy they are (OHEM)"
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
        return self.labelled_loss(run.student(images), classes)

    def labelled_loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        """The cross entropy of given classes (B, H, W), -1 for none, with logits (B, K, H, W)."""
        if self.hard_pixels:
            return hard_pixel_cross_entropy(logits, classes, self.hard_threshold, self.hard_least)
        return pixel_cross_entropy(logits, classes)

    def fit(self, data: Data[PixelMaps], trainer: PixelTrainer) -> FittedPixels:
        return self.fitted(trainer, self.final(self.train(trainer)))

    def fitted(self, trainer: PixelTrainer, model: Segmenter) -> FittedPixels:
        """The model, and what it says of the unlabelled pixels, accepted by confidence alone."""
        labels = trainer.label(model, trainer.data.unlabelled, self.label_threshold)
        return Fitted(model.eval(), labels)


def shown_pixels(run: PixelRun, seen: Seen, stream: str = "unlabelled") -> Tensor:
    """(B, H, W) bool: the pixels of weak views of the step that show the pictures of a stream.

    What lies beside a picture shows nothing: neither where a view goes past its frame, nor where a
    picture of another aspect leaves a rim in it.
    """
    items = getattr(run.batch, stream).items
    return seen.geometry.valid(seen.images.device, run.trainer.shown(items, stream))
