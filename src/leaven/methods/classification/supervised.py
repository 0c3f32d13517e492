"""The baseline: learn from the labelled pictures alone."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from leaven.data import Data
from leaven.learn import cross_entropy
from leaven.methods.base import Card, Fitted
from leaven.methods.classification.few_labels import FewLabels
from leaven.train import EMA, Trainer


class Supervised(FewLabels):
    """Cross entropy on weakly augmented labelled pictures; averaged weights predict.

    ``loss = mean_i CE(student(weak(x_i)), y_i)``. Same network, recipe and budget as the methods
    it is compared with, so that what they gain is what the unlabelled pictures give.
    """

    card: ClassVar[Card] = Card(
        name="supervised",
        title="Supervised baseline",
        summary="Cross entropy on the labelled pictures alone, with weak augmentation.",
        task="classification",
        evidence="labels",
        year=None,
        venue="",
        paper="standard",
        parts=("learn.cross_entropy", "train.EMA"),
        claim="The floor that every other method has to beat.",
    )

    needs_unlabelled: ClassVar[bool] = False

    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights")

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        student = trainer.model()
        teacher = EMA(student, self.ema)
        optimizer = trainer.optimizer(student, self.recipe)
        weak, _ = data.views()
        trainer.register(student=student, teacher=teacher, optimizer=optimizer)

        for batch in trainer.steps(
            labelled=data.labelled.batches(self.batch), watch=teacher.module
        ):
            labelled = batch.labelled
            loss = cross_entropy(student(weak(labelled.images, trainer.draws)), labelled.targets)
            trainer.observe(losses={"supervised": loss})
            if trainer.update(loss, optimizer):
                teacher.update(student)

        return self.fitted(trainer, teacher.module)
