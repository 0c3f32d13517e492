"""The loop that methods for pixels and boxes share: one loss per step, and a teacher that follows.

A method says what its networks, its further parts and its loss are; a wrapper such as FST takes
these of a host and makes other steps of them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.dataset import T
from leaven.draws import Draws
from leaven.methods.base import Method
from leaven.train import EMA, Engine, Optimizer, Recipe
from leaven.train.batch import Batch

E = TypeVar("E", bound=Engine[Any])
N = TypeVar("N", bound=nn.Module)


@dataclass
class Run(Generic[E, N]):
    """What a step works with.

    Attributes:
        trainer: the services.
        student: what is trained.
        average: keeps the teacher.
        parts: further modules, by name; those with weights are trained along.
        optimizer: of the student and the parts.
        batch: of this step, with the streams ``labelled`` and ``unlabelled``.
    """

    trainer: E
    student: N
    average: EMA[N]
    parts: nn.ModuleDict
    optimizer: Optimizer
    batch: Batch

    @property
    def teacher(self) -> N:
        """The averaged student, in eval mode and without gradient."""
        return self.average.module

    @property
    def draws(self) -> Draws:
        return self.trainer.draws

    @property
    def progress(self) -> float:
        """The spent share of the budget, in [0, 1)."""
        return self.batch.progress


class StepMethod(Method, Generic[E, N]):
    """``loss`` at every step, then ``after`` it; with few labelled and many unlabelled pictures."""

    batch: int = Field(4, ge=1, description="labelled pictures per step")
    ratio: int = Field(1, ge=1, description="unlabelled pictures per labelled picture in a step")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights, the teacher")
    recipe: Recipe = Field(
        Recipe(optimizer="adamw", lr=2e-3, weight_decay=1e-4, schedule="poly"),
        description="how the weights are moved",
    )

    # -- what a method is -------------------------------------------------------------------------

    @abstractmethod
    def loss(self, run: Run[E, N]) -> Tensor:
        """What the step makes smaller, 0-d; it also tells the trainer what it saw."""

    def student(self, trainer: E) -> N:
        """What is trained; a fresh model of the run by default."""
        return cast("N", trainer.model())

    def parts(self, trainer: E, student: N) -> dict[str, nn.Module]:
        """Further modules by name, with weights or a state; none by default."""
        return {}

    def average(self, student: N) -> EMA[N]:
        """What keeps the teacher."""
        return EMA(student, self.ema)

    def optimizer(self, trainer: E, models: nn.ModuleList) -> Optimizer:
        """What moves the weights of the student and the parts."""
        return trainer.optimizer(models, self.recipe)

    def streams(self, data: Data[T]) -> dict[str, Any]:
        """What a batch holds, by name."""
        streams: dict[str, Any] = {"labelled": data.labelled.batches(self.batch)}
        if self.needs_unlabelled:
            streams["unlabelled"] = data.unlabelled.batches(self.batch * self.ratio)
        return streams

    def step(self, run: Run[E, N]) -> bool:
        """One step; True when the weights have moved."""
        return run.trainer.update(self.loss(run), run.optimizer)

    def after(self, run: Run[E, N]) -> None:
        """What follows a step that has moved the weights: the teacher does."""
        run.average.update(run.student)

    def final(self, run: Run[E, N]) -> N:
        """The network that is used after the run: the teacher."""
        return run.teacher

    # -- the loop ---------------------------------------------------------------------------------

    def train(self, trainer: E, share: float = 1.0) -> Run[E, N]:
        """A new run on the data of ``trainer``, through a ``share`` of its budget."""
        student = self.student(trainer)
        average = self.average(student)
        parts = nn.ModuleDict(self.parts(trainer, student)).to(trainer.device)
        optimizer = self.optimizer(trainer, nn.ModuleList([student, *parts.values()]))
        trainer.register(student=student, teacher=average, parts=parts, optimizer=optimizer)
        budget = trainer.settings.budget.share(share * trainer.available)
        run = Run(trainer, student, average, parts, optimizer, Batch(0, 0.0, {}))
        final = self.final(run)
        if budget.steps:
            decay, predicts = average.decay_of(budget.steps), final is not student
            trainer.health.decay(decay, budget.steps, trainer.step, predicts=predicts)
        steps = trainer.steps(share=share, watch=final, streams=self.streams(trainer.data))
        for batch in steps:
            run.batch = batch
            if self.step(run):
                self.after(run)
        return run


def seeded(trainer: Engine[Any]) -> torch.Generator:
    """A source for first weights that leaves the draws of the run alone."""
    return torch.Generator().manual_seed(trainer.settings.seed)
