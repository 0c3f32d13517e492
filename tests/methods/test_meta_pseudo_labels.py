"""Meta Pseudo Labels: what the feedback does, who sees which labels, and a run end to end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaven.data import Data
from leaven.errors import ConfigError
from leaven.learn import cross_entropy
from leaven.methods import Fitted, find_method
from leaven.methods.classification import meta_pseudo_labels
from leaven.methods.classification.meta_pseudo_labels import MetaPseudoLabels
from leaven.train import Budget, Optimizer, Recipe, Settings, Trainer

STILL = Recipe(lr=0.1, wait=0.99)
"""Does not move a weight in a run of less than 100 steps."""

SMALL: dict[str, Any] = {
    "batch": 16,
    "ratio": 2,
    "recipe": Recipe(lr=0.05),
    "student_recipe": Recipe(lr=0.05),
    "threshold": 0.2,
}


class Watching(Trainer):
    """Keeps the losses, what was observed, and the networks of a run."""

    def __init__(self, data: Data, steps: int, width: int = 8) -> None:
        settings = Settings(budget=Budget(steps=steps), threads=1, options={"width": width})
        super().__init__(data, None, settings)
        self.parts: dict[str, Any] = {}
        self.updates: list[str] = []
        self.seen: dict[str, list[float]] = {}

    def register(self, **parts: Any) -> None:
        self.parts.update(parts)
        super().register(**parts)

    def update(self, loss: Tensor, optimizer: Optimizer) -> bool:
        names = [name for name, part in self.parts.items() if part is optimizer]
        self.updates += names
        return super().update(loss, optimizer)

    def observe(self, **values: Any) -> None:
        for name in ("feedback", "advantage"):
            if name in values:
                self.seen.setdefault(name, []).append(float(values[name]))
        super().observe(**values)


def fit(data: Data, steps: int, **values: Any) -> tuple[Fitted, Watching]:
    trainer = Watching(data, steps)
    return MetaPseudoLabels(**{**SMALL, **values}).fit(trainer.data, trainer), trainer


def equal(first: nn.Module, second: nn.Module) -> bool:
    left, right = first.state_dict(), second.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


def uda(method: MetaPseudoLabels, data: Data, trainer: Trainer) -> nn.Module:
    """A plain UDA teacher: labels, and consistency with its sharpened weak view."""
    teacher = trainer.model(dropout=method.dropout)
    optimizer = trainer.optimizer(teacher, method.recipe)
    weak, strong = data.views()
    draws = trainer.draws
    for batch in trainer.steps(
        labelled=data.labelled.batches(method.batch),
        unlabelled=data.unlabelled.batches(method.batch * method.ratio),
    ):
        images, unlabelled = batch.labelled.images, batch.unlabelled.images
        views = [weak(images, draws), weak(unlabelled, draws), strong(unlabelled, draws)]
        logits, weak_logits, strong_logits = teacher(torch.cat(views)).split(
            [len(view) for view in views]
        )
        draws.uniform(len(unlabelled), 1)  # the method draws labels here
        target = (weak_logits.detach() / method.uda_temperature).softmax(1)
        trusted = (target.max(1).values >= method.threshold).float()
        pulls = -(target * strong_logits.log_softmax(1)).sum(1) * trusted
        weight = method.uda_weight * min(1.0, batch.progress / method.uda_ramp)
        loss = cross_entropy(logits, batch.labelled.targets, label_smoothing=method.label_smoothing)
        trainer.update(loss + weight * pulls.mean(), optimizer)
    return teacher


def test_without_feedback_the_teacher_is_a_uda_teacher(digits_data: Data) -> None:
    values = {"feedback_weight": 0.0, "dropout": 0.0, "finetune_share": 0.0, "uda_ramp": 0.5}
    _, trainer = fit(digits_data, 5, **values)
    again = Watching(digits_data, 5)
    expected = uda(MetaPseudoLabels(**{**SMALL, **values}), again.data, again)
    for name, value in expected.state_dict().items():
        found = trainer.parts["teacher"].state_dict()[name]
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-5)
    _, fed_trainer = fit(digits_data, 5, **{**values, "feedback_weight": 1.0})
    assert not equal(fed_trainer.parts["teacher"], trainer.parts["teacher"])


@pytest.mark.parametrize(
    ("values", "dead"),
    [
        ({"label_mode": "soft"}, True),
        ({"label_mode": "soft", "sign": "released"}, True),
        ({"label_mode": "soft", "label_temperature": 0.5}, False),
        ({"label_mode": "argmax"}, False),
        ({"label_mode": "sample"}, False),
    ],
)
def test_soft_labels_of_temperature_one_are_no_feedback(
    digits_data: Data, caplog: pytest.LogCaptureFixture, values: dict[str, Any], dead: bool
) -> None:
    """The teacher of a run with feedback equals that of one without only in the dead case."""
    common = {"feedback_weight": 5.0, "finetune_share": 0.0, **values}
    with caplog.at_level(logging.WARNING, logger=meta_pseudo_labels.__name__):
        _, fed = fit(digits_data, 6, **common)
    assert ("no feedback" in caplog.text) == dead
    _, plain = fit(digits_data, 6, **{**common, "feedback_weight": 0.0})
    gaps = [
        float((left - right).abs().max().detach())
        for left, right in zip(
            fed.parts["teacher"].parameters(), plain.parts["teacher"].parameters()
        )
    ]
    assert max(gaps) < 1e-5 if dead else max(gaps) > 1e-4


def shuffled(data: Data) -> Data:
    """The same pictures in the same order with the labels of the labelled ones moved on."""
    labels = data.train.labels.clone()
    known = labels >= 0
    labels[known] = (labels[known] + 3) % len(data.classes)
    train = data.train.__class__(
        data.train.pixels, labels, data.train.truth, data.train.names, data.train.sources
    )
    return data.with_train(train)


def test_labels_never_reach_the_student_before_the_last_phase(digits_data: Data) -> None:
    """With a teacher that stands still and no feedback, they have no way to get there."""
    values = {"recipe": STILL, "feedback_weight": 0.0, "finetune_share": 0.0}
    true, trainer = fit(digits_data, 10, **values)
    false, other = fit(shuffled(digits_data), 10, **values)
    assert equal(trainer.parts["student"], other.parts["student"])
    assert equal(true.model, false.model)
    assert trainer.seen["feedback"] != other.seen["feedback"]

    moving = {**values, "recipe": Recipe(lr=0.05)}
    assert not equal(
        fit(digits_data, 10, **moving)[0].model, fit(shuffled(digits_data), 10, **moving)[0].model
    )
    last = {**values, "finetune_share": 0.2, "finetune_recipe": Recipe(lr=0.1)}
    assert not equal(
        fit(digits_data, 10, **last)[0].model, fit(shuffled(digits_data), 10, **last)[0].model
    )


def test_the_student_steps_before_the_teacher(digits_data: Data) -> None:
    _, trainer = fit(digits_data, 10, finetune_share=0.2, finetune_batch=8)
    assert trainer.updates == ["student_optimizer", "optimizer"] * 8 + ["finetune"] * 2
    assert trainer.parts["teacher"] is not trainer.parts["student"]


def test_the_feedback_is_what_the_step_did_to_the_labelled_loss(
    digits_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followed by hand in one step, with the labelled loss before, then after, the student's."""
    losses: list[tuple[float, float]] = []
    original = cross_entropy

    def watched(logits: Tensor, targets: Tensor, *rest: Any, **named: Any) -> Tensor:
        loss = original(logits, targets, *rest, **named)
        losses.append((float(loss.detach()), float(logits.requires_grad)))
        return loss

    monkeypatch.setattr(meta_pseudo_labels, "cross_entropy", watched)
    _, trainer = fit(digits_data, 3, finetune_share=0.0)
    per_step = [losses[start : start + 5] for start in range(0, 15, 5)]
    for (_, _, _, before, after), feedback in zip(per_step, trainer.seen["feedback"]):
        assert before[1] == after[1] == 0.0
        assert feedback == pytest.approx(before[0] - after[0], abs=1e-6)
        assert feedback != 0
    mean = 0.0
    for feedback, advantage in zip(trainer.seen["feedback"], trainer.seen["advantage"]):
        mean = 0.99 * mean + 0.01 * feedback
        assert advantage == pytest.approx(feedback - mean, abs=1e-6)


def test_exact_feedback_tends_to_the_difference_of_losses(digits_data: Data) -> None:
    """Without momentum, decay, dropout and batch norm the two differ to second order."""
    gaps = []
    for rate in (0.02, 0.01):
        plain = Recipe(lr=rate, momentum=0, nesterov=False, weight_decay=0, schedule="constant")
        found = []
        for feedback in ("difference", "exact"):
            trainer = Watching(digits_data, 1)
            trainer.settings.options["norm"] = "group"
            method = MetaPseudoLabels(
                **{
                    **SMALL,
                    "student_recipe": plain,
                    "feedback": feedback,
                    "dropout": 0.0,
                    "finetune_share": 0.0,
                    "feedback_momentum": 0.0,
                }
            )
            method.fit(trainer.data, trainer)
            found += trainer.seen["feedback"]
        difference, exact = found
        assert abs(exact) > 1e-4
        gaps.append(abs(difference - exact))
        assert gaps[-1] < 0.5 * abs(exact)
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.3)


def test_the_released_sign_turns_the_feedback(digits_data: Data) -> None:
    _, paper = fit(digits_data, 2, finetune_share=0.0, normalise_feedback=True)
    _, released = fit(digits_data, 2, finetune_share=0.0, normalise_feedback=True, sign="released")
    assert paper.seen["feedback"][0] == released.seen["feedback"][0] != 0
    assert paper.seen["advantage"][0] == pytest.approx(-released.seen["advantage"][0])
    assert abs(paper.seen["advantage"][0]) == pytest.approx(1, rel=1e-4)


def test_a_student_that_waits_stands_still(digits_data: Data) -> None:
    fitted, trainer = fit(digits_data, 5, student_recipe=STILL, finetune_share=0.0, dropout=0.0)
    fresh = Watching(digits_data, 5)
    fresh.model()
    for left, right in zip(fresh.model().parameters(), fitted.model.parameters()):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-7)
    assert not equal(trainer.parts["teacher"], trainer.parts["student"])


def test_a_batch_that_the_student_refuses_is_refused_whole(
    digits_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Watching.update

    def refuse(self: Watching, loss: Tensor, optimizer: Optimizer) -> bool:
        if optimizer is self.parts["student_optimizer"] and self.step == 1:
            loss = loss * torch.nan
        return original(self, loss, optimizer)

    monkeypatch.setattr(Watching, "update", refuse)
    _, trainer = fit(digits_data, 3, finetune_share=0.0)
    assert trainer.updates == [
        "student_optimizer",
        "optimizer",
        "student_optimizer",
        "student_optimizer",
        "optimizer",
    ]
    assert len(trainer.seen["feedback"]) == 2 == int(trainer.parts["baseline"].steps)
    for network in ("teacher", "student"):
        assert all(value.isfinite().all() for value in trainer.parts[network].state_dict().values())


def test_gathered_gradients_are_refused_for_the_student() -> None:
    method = find_method("meta-pseudo-labels")
    with pytest.raises(ConfigError, match="student_recipe"):
        method.configured({"student_recipe.accumulate": 2})
    assert method.configured({"recipe.accumulate": 2}).recipe.accumulate == 2


def test_the_groups_of_defaults_stay_when_one_value_is_set() -> None:
    method = find_method("meta-pseudo-labels").configured({"student_recipe.lr": 0.05})
    assert method.student_recipe.wait == 0.01 and method.student_recipe.schedule == "cosine"


def test_end_to_end_beats_its_labels(digits_data: Data) -> None:
    trainer = Watching(digits_data, 200, width=16)
    method = find_method("meta-pseudo-labels").configured(
        {
            "batch": 32,
            "ratio": 2,
            "ema": 0.95,
            "uda_weight": 1,
            "recipe.lr": 0.05,
            "student_recipe.lr": 0.05,
            "dropout": 0.0,
        }
    )
    fitted = method.fit(trainer.data, trainer)
    assert trainer.measure(fitted.model, digits_data.test)["accuracy"] > 0.8
    assert fitted.labels.accuracy(digits_data.unlabelled.truth) > 0.88
    assert not fitted.model.training


@pytest.mark.parametrize("feedback", ["difference", "exact"])
def test_a_resumed_run_ends_bit_identical(
    digits_data: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted], feedback: Any
) -> None:
    """Broken off in the main phase and in the last one."""
    method = MetaPseudoLabels(
        **{**SMALL, "feedback": feedback, "finetune_share": 0.3, "finetune_batch": 16},
        finetune_recipe=Recipe(lr=0.01, schedule="constant"),
    )
    assert_resumes(method, digits_data, 20, tmp_path)
