from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leaven.data import Data
from leaven.labels import ClassLabels
from leaven.methods import Fitted
from leaven.methods.classification import from_labels
from leaven.methods.classification.dual_pseudo_training import augmented
from leaven.methods.classification.from_labels import FromLabels, Say, train_on
from leaven.train import Recipe, Trainer

MakeTrainer = Callable[..., Trainer]
QUICK: dict[str, Any] = {"batch": 16, "ratio": 2, "ema": 0.9}


class Truth(FromLabels):
    """Labels with the truth, every second item only."""

    def label(self, data: Data, trainer: Trainer) -> tuple[ClassLabels, Say]:
        CALLS.append(1)
        return half(data), lambda rows: torch.full((len(rows), 10), 0.1)


CALLS: list[int] = []


def half(data: Data) -> ClassLabels:
    probs = torch.nn.functional.one_hot(data.unlabelled.truth, 10).float()
    return ClassLabels.from_probs(probs, (torch.arange(len(probs)) % 2).float())


def test_a_run_resumes_and_does_not_label_again(
    digits_data: Data, assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    CALLS.clear()
    fitted = assert_resumes(Truth(**QUICK), digits_data, 9, tmp_path, breaks=(0.5,))
    assert len(CALLS) == 2
    assert torch.equal(fitted.labels.classes, digits_data.unlabelled.truth)
    assert fitted.labels.accepted_share == pytest.approx(0.5, abs=0.01)


def test_a_matrix_is_kept_for_the_resumed_run(
    digits_data: Data, assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    class Noisy(Truth):
        def mislabelling(self, labels: ClassLabels) -> Tensor | None:
            return torch.full((10, 10), 0.02) + 0.8 * torch.eye(10)

    assert_resumes(Noisy(**QUICK), digits_data, 9, tmp_path, breaks=(0.5,))


def test_the_network_learns_what_a_method_has_put_beside_the_labels(
    digits_data: Data, trainer_for: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As dual pseudo training does with the pictures that it has made."""
    seen: list[int] = []
    steps = Trainer.steps

    def watched(self: Trainer, **named: Any) -> Any:
        seen.append(len(named["streams"]["labelled"].targets))
        return steps(self, **named)

    monkeypatch.setattr(Trainer, "steps", watched)
    made = torch.zeros(30, *digits_data.shape, dtype=torch.uint8)
    more = augmented(digits_data, made, torch.arange(30) % 10)
    trainer = trainer_for(digits_data, 2)
    Truth(**QUICK).fit(more, trainer)
    assert seen == [len(digits_data.labelled) + 30]


def test_only_accepted_items_are_drawn_and_the_network_learns_from_them(
    digits_data: Data, trainer_for: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    indices: list[Tensor] = []
    stream = from_labels.Stream

    def noted(images: Any, size: int, *, targets: Tensor, index: Tensor) -> Any:
        indices.append(index)
        return stream(images, size, targets=targets, index=index)

    monkeypatch.setattr(from_labels, "Stream", noted)
    recipe = Recipe(lr=0.1, schedule="cosine")
    scores = []
    for weight in (1.0, 0.0):
        trainer = trainer_for(digits_data, 60)
        model = train_on(
            half(digits_data),
            trainer.data,
            trainer,
            recipe=recipe,
            labels_weight=weight,
            **QUICK,
        )
        assert not model.training
        scores.append(trainer.measure(model, trainer.data.test)["accuracy"])
    assert torch.equal(indices[0], half(digits_data).accepted.nonzero().squeeze(1))
    assert scores[0] > scores[1] + 0.05


def test_soft_labels_are_distributions(digits_data: Data, trainer_for: MakeTrainer) -> None:
    """Even distributions over 2 classes make a network that does not tell the two apart."""
    count = len(digits_data.unlabelled)
    probs = torch.zeros(count, 10)
    probs[:, :2] = torch.tensor([0.55, 0.45])
    labels = ClassLabels.from_probs(probs)
    confident = []
    for soft in (True, False):
        trainer = trainer_for(digits_data.with_train(digits_data.unlabelled), 30)
        model = train_on(labels, trainer.data, trainer, soft=soft, recipe=Recipe(lr=0.1), **QUICK)
        said = trainer.predict(model, trainer.data.unlabelled)
        assert float((said.argmax(1) == 0).float().mean()) > 0.9
        confident.append(float(said[:, 0].mean()))
    assert confident[0] == pytest.approx(0.55, abs=0.05)
    assert confident[1] > 0.9


def test_a_matrix_corrects_the_loss(digits_data: Data, trainer_for: MakeTrainer) -> None:
    """Every label says 1; if 0 is always called 1, the items may as well be 0."""
    unlabelled = digits_data.with_train(digits_data.unlabelled)
    probs = torch.zeros(len(unlabelled.train), 10)
    probs[:, 1] = 1
    matrix = torch.eye(10)
    matrix[:, 0] = matrix[:, 1]
    matrix[:, 1] = torch.eye(10)[0]
    trainer = trainer_for(unlabelled, 30)
    model = train_on(
        ClassLabels.from_probs(probs),
        trainer.data,
        trainer,
        matrix=matrix,
        recipe=Recipe(lr=0.1),
        **QUICK,
    )
    said = trainer.predict(model, trainer.data.unlabelled)
    assert bool((said.argmax(1) == 0).all())


def test_without_an_accepted_label_people_teach_alone(
    digits_data: Data, trainer_for: MakeTrainer
) -> None:
    models = []
    for classes in (0, 7):
        trainer = trainer_for(digits_data, 6)
        count = len(digits_data.unlabelled)
        labels = ClassLabels.from_person(torch.full((count,), classes))
        labels = labels.with_weight(torch.zeros(count))
        models.append(train_on(labels, trainer.data, trainer, **QUICK).head.weight)
    assert torch.equal(*models)


def test_all_labelled_is_supervised_training(digits_data: Data, trainer_for: MakeTrainer) -> None:
    trainer = trainer_for(digits_data.with_train(digits_data.labelled), 3)
    train_on(ClassLabels.from_person(torch.empty(0)), trainer.data, trainer, **QUICK)
    assert trainer.step == 3
