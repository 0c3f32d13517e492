"""The baseline: learn from the labelled maps alone."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from leaven.methods.base import Card
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun


class Supervised(FewMaps):
    """Cross entropy per pixel on weak views of labelled pictures; averaged weights predict.

    ``loss = mean over known pixels of CE(student(weak(x)), weak(y))``.
    """

    card: ClassVar[Card] = Card(
        name="supervised",
        title="Supervised baseline",
        summary="Cross entropy per pixel on the labelled pictures alone, with weak augmentation.",
        task="segmentation",
        evidence="label maps",
        year=None,
        venue="",
        paper="standard",
        parts=("learn.pixel_cross_entropy", "train.EMA"),
        claim="The floor that every other method has to beat.",
    )

    needs_unlabelled: ClassVar[bool] = False

    def loss(self, run: PixelRun) -> Tensor:
        loss = self.supervised(run)
        run.trainer.observe(losses={"supervised": loss})
        return loss
