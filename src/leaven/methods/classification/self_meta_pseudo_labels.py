"""Self Meta Pseudo Labels: one network tries its own labels, looks, and corrects itself."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from leaven.data import Data
from leaven.learn import FeedbackBaseline, cross_entropy, feedback_loss, linear_ramp
from leaven.methods.base import Card, Fitted
from leaven.methods.classification.few_labels import OnlineFewLabels
from leaven.methods.classification.finetune import finetune
from leaven.models.classifier import Classifier
from leaven.propose import draw_labels
from leaven.refine import sharpen
from leaven.select import fixed_threshold
from leaven.train import EMA, Optimizer, Recipe, Rollback, Trainer
from leaven.train.batch import Batch


class SelfMetaPseudoLabels(OnlineFewLabels):
    """Self Meta Pseudo Labels (Ng and Wang, 2022): Meta Pseudo Labels without the teacher.

    One network with weights ``w``, which makes two real steps per batch::

        y^  = argmax f(weak(u); w)                                         1. its own labels
        old = CE(f(x; w), y)                                               2. value only
        w1  = step of  CE(f(strong(u); w), y^)                             3. it tries them
        new = CE(f(x; w1), y),  z_w = f(weak(u); w1),  z_s = f(strong(u); w1)   4., 5. and looks
        w2  = step of  new + b mean_u 1[max p_u >= threshold] CE(z_s, p_u)      6., 7. and corrects
                       + feedback_weight * (old - new) * CE(z_w, y^')

    with ``p_u = softmax(z_w / uda_temperature)`` without gradient, ``y^' = argmax z_w`` and
    ``b = uda_weight * min(1, progress / uda_ramp)``. A batch of labels that made the loss on
    people's labels smaller is learnt harder; one that made it larger is taken back. With
    ``label_mode="sample"`` both ``y^`` are the same draw, since no other labels were tried.
    The gradient of the second step alone is clipped, by ``recipe.clip``. The first step is the
    gradient's alone, ``w1 = w - lr g``: with momentum ``old - new`` would be mostly what earlier
    steps do. Momentum and decay are the second step's; ``first_recipe`` may say otherwise, and has
    to where ``recipe`` is not of SGD: the rates of Adam are none for a plain gradient. Where the
    second step is refused the first is taken back, for which the weights are copied in every batch.

    The equations follow the paper's abstract. The paper has no code; its first author's later
    library and a re-implementation of others have the method in it, and differ. Not followed of
    the library: the feedback goes to the strong view, by new - old, against a moving mean, and its
    second loss uses outputs from before the first step, so that nothing is looked at; of the
    re-implementation: the sign of the feedback (here ``sign="released"``), a consistency masked by
    the strong view, gradients into its target, gradients of the first loss left in the second
    step, and a ramp within each epoch. Temperature and threshold of the consistency are those of
    Meta Pseudo Labels (library 1.25; re-implementation 1 and 0.95), the rate too (both 0.05), and
    there is neither label smoothing (0.15) nor dropout (0.5) nor averaging (0.995) as in the library.

    All views go through the network together, once before the first step and once after it, so
    that batch norm puts no offset into ``old - new``.
    """

    card: ClassVar[Card] = Card(
        name="self-meta-pseudo-labels",
        title="Self Meta Pseudo Labels: Meta Pseudo Labels Without The Teacher",
        summary="One network steps on its own labels, sees what that did, and steps again.",
        task="classification",
        evidence="few labels",
        year=2022,
        venue="IEEE Big Data",
        paper="https://arxiv.org/abs/2212.13420",
        code="https://github.com/max-ng/megaboost",
        number=8,
        parts=(
            "propose.draw_labels",
            "refine.sharpen",
            "select.fixed_threshold",
            "learn.FeedbackBaseline",
            "learn.cross_entropy",
            "learn.feedback_loss",
            "learn.linear_ramp",
        ),
        claim="CIFAR-10, 4,000 labels, WRN-28-2: 95.91 %; CIFAR-100, 10,000 labels, WRN-28-8: "
        "78.32 %; as good as Meta Pseudo Labels with one network in memory in place of two.",
        measured="Digits, 5 labels per class, 3 seeds: 92.7 % against 88.3 % of the labels "
        "alone, 93.5 % with consistency alone and 93.6 % of Meta Pseudo Labels. Digits on photos, 5 labels "
        "per class, 3 seeds: 87.9 % against 47.9, 86.8 and 84.1. There, where many labels are wrong for long, the "
        "feedback tells batches of good labels from batches of bad ones (correlation 0.15); on the digits it does not (0.00).",
    )

    needs_views: ClassVar[bool] = True

    batch: int = Field(128, ge=1, description="labelled pictures per step")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of averaged weights; 0 predicts with the last ones and keeps no copy",
    )
    recipe: Recipe = Field(
        default_factory=lambda: Recipe(lr=0.1, schedule="cosine", clip=8.0),
        description="how weights are moved in the second step",
    )
    first_recipe: Recipe | None = Field(
        None,
        description="how they are moved in the first one; none: as in the second, without momentum, "
        "decay and clipping, if that is SGD",
    )
    first_step: bool = Field(
        True, description="step on the own labels before looking; else no labels are tried"
    )
    label_mode: Literal["argmax", "sample"] = Field(
        "argmax", description="how a label comes from the network's distribution"
    )
    feedback_weight: float = Field(1.0, ge=0, description="weight of the feedback; 0 for none")
    feedback_baseline: Literal["none", "centred", "normalised"] = Field(
        "none", description="take a moving mean off the feedback, and divide it by its spread"
    )
    feedback_momentum: float = Field(0.99, ge=0, lt=1, description="of that mean and spread")
    sign: Literal["paper", "released"] = Field(
        "paper", description="reward labels that helped, or, as the re-implementation, that harmed"
    )
    uda_weight: float = Field(8.0, ge=0, description="weight of the consistency")
    uda_ramp: float = Field(
        1 / 60, ge=0, le=1, description="share of the run in which that weight rises from 0"
    )
    uda_temperature: float = Field(
        0.7, gt=0, description="of the distribution on the weak view, its target"
    )
    threshold: float = Field(
        0.6, ge=0, le=1, description="confidence that the sharpened weak view must reach"
    )
    finetune_share: float = Field(
        0.0, ge=0, lt=1, description="share of the run, at its end, on people's labels alone"
    )
    finetune_batch: int = Field(512, ge=1, description="labelled pictures per step of that phase")
    finetune_recipe: Recipe = Field(
        default_factory=lambda: Recipe(lr=5e-6, schedule="constant"),
        description="how weights are moved in that phase",
    )

    @field_validator("recipe", "first_recipe")
    @classmethod
    def _steps_on_every_batch(cls, recipe: Recipe | None) -> Recipe | None:
        if recipe is not None and recipe.accumulate != 1:
            raise ValueError("both steps are made on every batch: accumulate is 1")
        return recipe

    @model_validator(mode="after")
    def _knows_the_first_step(self) -> Self:
        if self.first_step and self.first_recipe is None and self.recipe.optimizer != "sgd":
            raise ValueError(
                f"first_recipe, for the rates of {self.recipe.optimizer} are not those of a plain "
                "step of the gradient"
            )
        return self

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        model = trainer.model()
        optimizer = trainer.optimizer(model, self.recipe)
        baseline = FeedbackBaseline(self.feedback_momentum, self.feedback_baseline == "normalised")
        baseline.to(trainer.device)
        first = trainer.optimizer(model, self.first_recipe or _plain(self.recipe))
        trainer.register(model=model, optimizer=optimizer, first=first, baseline=baseline)
        average = EMA(model, self.ema) if self.ema else None
        if average is not None:
            trainer.register(average=average)
        final = model if average is None else average.module

        streams: dict[str, Any] = {"labelled": data.labelled.batches(self.batch)}
        if len(data.unlabelled):
            streams["unlabelled"] = data.unlabelled.batches(self.batch * self.ratio)
        for batch in trainer.steps(share=1 - self.finetune_share, watch=final, **streams):
            if "unlabelled" in batch.streams:
                moved = self._try_and_correct(
                    batch, data, trainer, model, first, optimizer, baseline
                )
            else:
                moved = self._supervised(batch, data, trainer, model, optimizer)
            if moved and average is not None:
                average.update(model)

        if self.finetune_share:
            finetune(
                final,
                data,
                trainer,
                self.finetune_share,
                self.finetune_batch,
                self.finetune_recipe,
            )
        return self.fitted(trainer, final, self.threshold)

    def _try_and_correct(
        self,
        batch: Batch,
        data: Data,
        trainer: Trainer,
        model: Classifier,
        first: Optimizer,
        second: Optimizer,
        baseline: FeedbackBaseline,
    ) -> bool:
        """One batch, two steps; True when the second one moved the weights."""
        labelled, unlabelled, draws = batch.labelled, batch.unlabelled, trainer.draws
        weak, strong = data.views()
        images = [
            weak(labelled.images, draws),
            weak(unlabelled.images, draws),
            strong(unlabelled.images, draws),
        ]
        tried = torch.empty(0)
        before: Tensor | None = None
        start: Rollback | None = None
        if self.first_step:
            start = Rollback(first, everything=True)
            # 1. Its labels. 2. Its loss on people's labels. 3. The step on its labels.
            seen = _look(model, images)
            tried = draw_labels(seen.weak, self.label_mode, draws)
            before = cross_entropy(seen.labelled.detach(), labelled.targets)
            if not trainer.update(cross_entropy(seen.strong, tried), first):
                return False  # The batch is refused.

        # 4., 5. Everything anew, with the weights after that step.
        seen = _look(model, images)
        supervised = cross_entropy(seen.labelled, labelled.targets)
        helped = torch.zeros_like(supervised)
        if before is not None:
            helped = trainer.mean(before - supervised.detach())
        advantage = helped if self.sign == "paper" else -helped
        if self.feedback_baseline != "none":
            advantage = baseline(advantage)

        # 6. What it says now of the same pictures.
        sharpened = sharpen(seen.weak.detach().softmax(1), self.uda_temperature)
        confidence, proposed = sharpened.max(1)
        weight = fixed_threshold(confidence, self.threshold)
        consistency = cross_entropy(seen.strong, sharpened, weight)
        labels = tried if self.first_step and self.label_mode == "sample" else proposed
        feedback = feedback_loss(seen.weak, labels, advantage)
        trainer.observe(
            losses={"supervised": supervised, "consistency": consistency},
            weight=weight,
            proposed=proposed,
            confidence=confidence,
            student=seen.strong.argmax(1),
            items=unlabelled.items,
            threshold=self.threshold,
            others={"tried": tried} if self.first_step else None,
            feedback=helped,
            advantage=advantage,
        )

        # 7. The correcting step.
        ramp = self.uda_weight * linear_ramp(batch.progress, self.uda_ramp)
        loss = supervised + ramp * consistency + self.feedback_weight * feedback
        moved = trainer.update(loss, second)
        if not moved and start is not None:
            start.restore()
        return moved

    def _supervised(
        self, batch: Batch, data: Data, trainer: Trainer, model: Classifier, optimizer: Optimizer
    ) -> bool:
        """A step where there is nothing to label."""
        weak, _ = data.views()
        images = weak(batch.labelled.images, trainer.draws)
        loss = cross_entropy(model(images), batch.labelled.targets)
        trainer.observe(losses={"supervised": loss})
        return trainer.update(loss, optimizer)


class _Views(NamedTuple):
    """Logits (b, K) of people's pictures and (B, K) of the two views of the others."""

    labelled: Tensor
    weak: Tensor
    strong: Tensor


def _look(model: Classifier, images: list[Tensor]) -> _Views:
    return _Views(*model(torch.cat(images)).split([len(view) for view in images]))


def _plain(recipe: Recipe) -> Recipe:
    """Steps of the gradient alone, at the same rates."""
    changes = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "clip": None}
    return recipe.model_copy(update=changes)
