"""Dual pseudo training: a classifier labels pictures for a generator, which makes pictures for it."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from leaven.data import Data
from leaven.errors import ConfigError, DataError
from leaven.methods.base import Card, Fitted, Method
from leaven.methods.classification.few_labels import FewLabels
from leaven.methods.classification.linear_probe import LinearProbe
from leaven.models import Denoiser, new_denoiser
from leaven.synthesize import (
    denoising_loss,
    draw_noise_levels,
    drop_classes,
    sample_pictures,
    to_signed,
    to_uint8,
)
from leaven.train import EMA, Recipe, Trainer
from leaven.train.journal import Bar

_AT_ONCE = 256
"""Pictures that are sampled together."""


class DualPseudoTraining(Method):
    """Dual Pseudo Training (You et al., NeurIPS 2023), in three stages:

    1. The ``stage`` method learns from labels L and unlabelled pictures U and says of **all**
       pictures of L and U, in eval mode and without augmentation, ``y^_i = argmax C_1(x_i)``. All
       are kept, none is filtered, and what people said is not put back.
    2. A class-conditional diffusion model learns ``(x_i, y^_i)``, with the loss of EDM

           mean weight(s) |D(x + s n; s, y) - x|^2,   ln s ~ N(-1.2, 1.2^2),

       where ``y`` is "any class" with probability ``drop``. Its averaged weights sample
       ``per_class`` pictures of every class with classifier-free guidance
       ``(1 + guidance) D(x; s, y) - guidance D(x; s, any)``. What a picture was conditioned on is
       its label.
    3. The ``stage`` method starts anew with L and the made pictures as labelled items, and U as
       before. What it gives is the result.

    ``per_class = 0`` leaves nothing to do for the first two stages: it is the ``stage`` method.

    The paper has two routes. On CIFAR-10 the stages are FreeMatch without its fairness loss, as here
    by default, and 1,000 pictures are made of each class; on ImageNet they are ``linear-probe``,
    logistic regression on the features of a trained network, with 128. That takes no steps, so the
    generator has the whole budget then.

    The generator of CIFAR-10 learns with optimizer and augmentation of EDM, of which the mirror is
    left here. Guidance, the share of dropped labels, the 50 steps of a DPM-Solver and the recipe are
    those of the ImageNet route, but for the solver's form (there the fast one on the linear schedule,
    here the second-order multistep one on the noise levels of EDM) and the second beta of AdamW
    (0.99; 0.999 here). The CIFAR-10 route samples with Heun's method and without guidance. The
    generator of the ImageNet route is a transformer on latents of an autoencoder, here a U-Net on
    pixels. The shares of the budget are chosen here.
    """

    card: ClassVar[Card] = Card(
        name="dual-pseudo-training",
        title="Diffusion Models and Semi-Supervised Learners Benefit Mutually with Few Labels",
        summary="Pseudo-labels train a diffusion model; its pictures are labelled data for a new start.",
        task="classification",
        evidence="few labels",
        year=2023,
        venue="NeurIPS",
        paper="https://arxiv.org/abs/2302.10586",
        code="https://github.com/ML-GSAI/DPT",
        number=32,
        parts=(
            "models.Denoiser",
            "synthesize.denoising_loss",
            "synthesize.drop_classes",
            "synthesize.sample_pictures",
            "train.EMA",
        ),
        claim="ImageNet 256: FID 3.08 with one label per class, 2.52 with two; top-1 59.0, 69.5 and "
        "74.4 % with 1, 2 and 5 labels per class, 2 to 3 points over the learner alone.",
        measured="Digits, 2 labels per class, 5 seeds. With the linear probe on features that were learnt "
        "without labels, 80.1 becomes 83.5 % (real pictures with their pseudo-labels: 80.8): shown. "
        "With FreeMatch, 91.0 becomes 91.3 % (real pictures 91.6): not shown. Made pictures agree "
        "with their class in 89.4 and 94.8 %, the labels they were learnt from in 80.9 and 90.8.",
    )

    needs_views: ClassVar[bool] = True

    stage: str = Field("freematch", description="the method of the stages 1 and 3, by name")
    stage_set: dict[str, Any] = Field(
        default_factory=dict,
        description="its hyperparameters, by name; fairness_weight=0 of freematch if not set",
    )
    per_class: int = Field(1000, ge=0, description="made pictures of each class; beside the budget")
    label_share: float = Field(
        1 / 3, gt=0, lt=1, description="share of the run for stage 1, if that takes steps"
    )
    generate_share: float = Field(
        1 / 3, gt=0, lt=1, description="share of the run for stage 2; stage 3 has the rest"
    )
    guidance: float = Field(0.4, ge=0, description="push from the pictures of any class")
    drop: float = Field(0.15, ge=0, le=1, description="share of labels that training drops")
    sampling_steps: int = Field(50, ge=2, description="steps from noise to a picture")
    width: int = Field(64, ge=8, multiple_of=8, description="channels of the denoiser")
    blocks: int = Field(2, ge=1, description="residual blocks of the denoiser per resolution")
    generator_batch: int = Field(512, ge=1, description="pictures per step of the denoiser")
    generator_ema: float = Field(
        0.9999, ge=0, lt=1, description="decay of the denoiser's averaged weights"
    )
    generator_recipe: Recipe = Field(
        default_factory=lambda: Recipe(
            optimizer="adamw",
            lr=2e-4,
            momentum=0.99,
            weight_decay=0.03,
            schedule="constant",
            warmup=5 / 300,
        ),
        description="how the denoiser's weights are moved",
    )

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.label_share + self.generate_share >= 1:
            raise ValueError("label_share and generate_share have to leave something for stage 3")
        return self

    @cached_property
    def learner(self) -> FewLabels | LinearProbe:
        """The method of the stages 1 and 3.

        Raises:
            ConfigError: ``stage`` is not a method that learns a classifier from few labels.
        """
        from leaven.methods import find_method

        kind = find_method(self.stage)
        if not issubclass(kind, FewLabels | LinearProbe):
            raise ConfigError(
                f"{self.stage} cannot be a stage of {self.card.name}.",
                "a method that learns one classifier from few labels",
                "choose another stage, such as freematch or linear-probe",
            )
        usual = {"fairness_weight": 0.0} if self.stage == "freematch" else {}
        return kind.configured(usual | self.stage_set)

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        if self.per_class == 0:
            return self.learner.fit(data, trainer)
        if not data.has_views:
            raise DataError(
                f"{self.card.name} makes pictures, and {data.name} has feature rows.",
                "pictures",
                "run it on the pictures themselves",
            )
        whole = trainer.available
        label, generate = self.label_share, self.generate_share
        if isinstance(self.learner, LinearProbe):
            label, generate = 0.0, 1.0
        trainer.available = whole * label
        found = trainer.once("pseudo_labels", lambda: self._label(data, trainer))
        trainer.available = whole * generate
        made = trainer.once("made", lambda: self._generate(found["labels"], data, trainer))
        trainer.available = whole * (1 - label - generate)
        return self.learner.fit(augmented(data, made["pictures"], made["classes"]), trainer)

    def _label(self, data: Data, trainer: Trainer) -> dict[str, Any]:
        """Stage 1: (n,) a class for every picture of ``data.train``."""
        # A scope of its own: the loops of stage 3 are those of a plain run, also after a resume.
        for _ in trainer.rounds(1, name="label"):
            model = self.learner.fit(data, trainer).model
        return {"labels": trainer.predict(model, data.train).argmax(1)}

    def _generate(self, classes: Tensor, data: Data, trainer: Trainer) -> dict[str, Any]:
        """Stage 2: ``per_class`` uint8 pictures of each class, and their classes."""
        for _ in trainer.rounds(1, name="generate"):
            average = self._learn_pictures(classes, data, trainer)
        wanted = torch.arange(len(data.classes)).repeat_interleave(self.per_class)
        generator = torch.Generator().manual_seed(trainer.settings.seed)
        pictures: list[Tensor] = []
        began = time.monotonic()
        with Bar("pictures", trainer.settings.show and trainer.is_main) as bar:
            for some in wanted.split(_AT_ONCE):
                sampled = sample_pictures(
                    average,
                    some.to(trainer.device),
                    data.shape,
                    generator,
                    null=average.null,
                    guidance=self.guidance,
                    steps=self.sampling_steps,
                )
                pictures.append(to_uint8(sampled).cpu())
                done = sum(map(len, pictures))
                bar.show(done / len(wanted), done / (time.monotonic() - began), "")
        return {"pictures": torch.cat(pictures), "classes": wanted}

    def _learn_pictures(self, classes: Tensor, data: Data, trainer: Trainer) -> Denoiser:
        """The averaged weights of a denoiser that has learnt all pictures with ``classes``."""
        denoiser = new_denoiser(
            data.shape,
            len(data.classes),
            width=self.width,
            blocks=self.blocks,
            seed=trainer.settings.seed,
        ).to(trainer.device)
        average = EMA(denoiser, self.generator_ema)
        optimizer = trainer.optimizer(denoiser, self.generator_recipe)
        trainer.register(denoiser=denoiser, denoiser_average=average, denoiser_optimizer=optimizer)
        stream = data.train.batches(self.generator_batch, targets=classes)
        for batch in trainer.steps(name="diffusion", pictures=stream):
            pictures = to_signed(batch.pictures.images)
            if data.flip:
                mirrored = trainer.draws.flags(len(pictures), 1, 1, 1)
                pictures = torch.where(mirrored, pictures.flip(3), pictures)
            targets = drop_classes(batch.pictures.targets, denoiser.null, self.drop, trainer.draws)
            sigma = draw_noise_levels(trainer.draws, len(pictures))
            noise = trainer.draws.normal(*pictures.shape)
            loss = denoising_loss(denoiser, pictures, targets, sigma, noise)
            trainer.observe(losses={"denoising": loss.detach()})
            if trainer.update(loss, optimizer):
                average.update(denoiser)
        return average.module


def augmented(data: Data, pictures: Tensor, classes: Tensor) -> Data:
    """The data with made ``pictures`` as labelled items of ``classes``; the rest stays as it is."""
    return data.with_train(data.train.with_pictures(pictures, classes, "made"))
