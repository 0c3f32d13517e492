"""The baseline: learn from the labelled pictures alone."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from leaven.methods.base import Card
from leaven.methods.detection.few_boxes import BoxRun, FewBoxes, total


class Supervised(FewBoxes):
    """The detector's own losses on weak views of labelled pictures; averaged weights predict.

    ``loss = sum of detector.losses(weak(x), weak(y))``.
    """

    card: ClassVar[Card] = Card(
        name="supervised",
        title="Supervised baseline",
        summary="The detector's own losses on the labelled pictures alone, with weak augmentation.",
        task="detection",
        evidence="boxes",
        year=None,
        venue="",
        paper="standard",
        parts=("models.Detector", "train.EMA"),
        claim="The floor that every other method has to beat.",
    )

    needs_unlabelled: ClassVar[bool] = False

    def loss(self, run: BoxRun) -> Tensor:
        loss = total(self.supervised(run))
        run.trainer.observe(losses={"supervised": loss})
        return loss
