"""Labels bought round by round: which items are chosen, and how accurate the network is by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from claims.harness import Measure
from leaven.data import Data
from leaven.draws import Draws
from leaven.methods import Method
from leaven.propose import predict_features
from leaven.quality import classification_metrics
from leaven.quality.acquisition import UNCERTAINTY, Pool, choose
from leaven.train import Budget, Settings, trainer_of

COMPARED = (
    "random",
    "auto",
    "typical",
    "uncertain-diverse",
    "badge",
    "k-center",
    "margin",
    "entropy",
    "promise",
)
"""Strategies that are compared."""


@dataclass(frozen=True)
class Rounds:
    """How labels are bought and learned from.

    Attributes:
        data: seed -> the data; every item has a truth, and those that are labelled are the start.
        method: trained from new weights in every round.
        totals: labels after each round but the first.
        model: the network.
        steps: of each training.
        levels: accuracies; ``labels_for_N`` is where the curve first reaches N per cent.
    """

    data: Callable[[int], Data]
    method: Method
    totals: Sequence[int]
    model: str
    steps: int
    levels: Sequence[float] = ()


def labels_spent(rounds: Rounds, strategy: str) -> Measure:
    """An experiment: test accuracy by the number of labels, chosen by ``strategy``.

    ``accuracy`` is the mean over the curve (its area, as a share), ``accuracy_N`` that with N
    labels, and ``labels_for_N`` how many labels an accuracy of N per cent takes (linear between two
    rounds; the last number of labels where it is not reached). The first round, which has the same
    labels for every strategy, is not part of the mean.
    """

    def run(seed: int) -> dict[str, float]:
        data = rounds.data(seed)
        draws = Draws(seed)
        curve = []
        for total in [*rounds.totals, 0]:
            probs, features, covered, accuracy = _trained(rounds, data, seed)
            known = data.train.known
            curve.append((int(known.sum()), accuracy))
            if total == 0:
                break
            value = {name: unsure(probs) for name, unsure in UNCERTAINTY.items()}
            pool = Pool(
                value,
                probs,
                features,
                covered,
                labelled=int(known.sum()),
                classes=len(data.classes),
            )
            index, _ = choose(pool, total - int(known.sum()), strategy, draws=draws)
            data = _revealed(data, (~known).nonzero().squeeze(1)[index])
        return _figures(curve, rounds.levels)

    return run


def _trained(rounds: Rounds, data: Data, seed: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """What a network says of the unlabelled items, the features of these and of the labelled ones,
    and its test accuracy."""
    settings = Settings(
        budget=Budget(steps=rounds.steps),
        seed=seed,
        model=rounds.model,
        threads=torch.get_num_threads(),
        evaluations=1,
    )
    trainer = trainer_of("classification")(data, None, settings)
    model = rounds.method.fit(trainer.data, trainer).model
    assert data.test is not None
    probs, features = predict_features(model, data.unlabelled.pixels)
    _, covered = predict_features(model, data.labelled.pixels)
    found = trainer.predict(model, data.test)
    return probs, features, covered, classification_metrics(found, data.test.labels)["accuracy"]


def _revealed(data: Data, items: Tensor) -> Data:
    labels = data.train.labels.clone()
    labels[items] = data.train.truth[items]
    return data.with_train(replace(data.train, labels=labels))


def _figures(curve: list[tuple[int, float]], levels: Sequence[float]) -> dict[str, float]:
    labels, accuracy = zip(*curve, strict=True)
    values = {f"accuracy_{number}": right for number, right in curve}
    values["accuracy"] = sum(accuracy[1:]) / (len(curve) - 1)
    for level in levels:
        values[f"labels_for_{round(100 * level)}"] = _reached(labels, accuracy, level)
    return values


def _reached(labels: Sequence[int], accuracy: Sequence[float], level: float) -> float:
    """Where the curve first reaches ``level``."""
    before: tuple[float, float] | None = None
    for number, right in zip(labels, accuracy, strict=True):
        if right >= level:
            if before is None or right == before[1]:
                return float(number)
            share = (level - before[1]) / (right - before[1])
            return before[0] + share * (number - before[0])
        before = number, right
    return float(labels[-1])
