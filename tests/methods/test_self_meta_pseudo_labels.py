"""Self Meta Pseudo Labels: two real steps by hand, the sign, what is kept, and a run end to end."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaven.data import Data, ImageSet
from leaven.data.pixels import MemoryPixels
from leaven.errors import ConfigError
from leaven.methods import Fitted, find_method
from leaven.methods.classification.meta_pseudo_labels import MetaPseudoLabels
from leaven.methods.classification.self_meta_pseudo_labels import SelfMetaPseudoLabels
from leaven.methods.classification.supervised import Supervised
from leaven.models import Classifier
from leaven.models.classifier import ModelSpec
from leaven.train import Budget, Recipe, Settings, Trainer

PLAIN = Recipe(lr=0.5, momentum=0, nesterov=False, weight_decay=0, schedule="constant")
START = 0.3
LABELLED, UNLABELLED = 255, 51
"""The grey value of the one labelled and the one unlabelled picture."""


class Unchanged(Data):
    """Data whose views are the pictures themselves."""

    def views(self) -> Any:
        return (lambda images, draws: images,) * 2


def unchanged(data: Data) -> Data:
    return Unchanged(**{field.name: getattr(data, field.name) for field in fields(data)})


class OneWeight(Classifier):
    """Logits (0, w * x) in double precision, with x in [0, 1] the grey value."""

    def __init__(self) -> None:
        spec = ModelSpec("", ("no", "yes"), (1, 8, 8), (0.0,), (1.0,))
        super().__init__(nn.Identity(), nn.Identity(), spec)
        self.weight = nn.Parameter(torch.tensor([START], dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        grey = images[:, 0, 0, 0].double() / 255
        return torch.stack([torch.zeros_like(grey), self.weight * grey], 1)


class OneWeightTrainer(Trainer):
    def model(self, *, dropout: float = 0.0) -> Classifier:
        self.made = OneWeight()
        return self.made


def two_pictures(target: int, unlabelled: bool = True) -> Data:
    pictures = torch.tensor([LABELLED, UNLABELLED], dtype=torch.uint8).view(2, 1, 1, 1)
    labels = torch.tensor([target, -1])
    train = ImageSet(
        MemoryPixels(pictures.expand(2, 1, 8, 8).contiguous()), labels, labels, ["a", "b"]
    )
    data = Data("two", ("no", "yes"), train)
    return unchanged(data if unlabelled else data.with_train(data.labelled))


def weight_after(data: Data, steps: int = 1, **values: Any) -> float:
    trainer = OneWeightTrainer(data, None, Settings(budget=Budget(steps=steps), threads=1))
    chosen = {"batch": 1, "ratio": 1, "recipe": PLAIN, "uda_ramp": 0.0, **values}
    SelfMetaPseudoLabels(**chosen).fit(trainer.data, trainer)
    return float(trainer.made.weight.detach())


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def by_hand(target: int, uda_weight: float, feedback_weight: float, clip: float) -> float:
    """w2 with logistic losses: the gradient of CE(w x, y) is (sigmoid(w x) - y) x."""
    x, u, rate, w = LABELLED / 255, UNLABELLED / 255, PLAIN.lr, START

    def loss(weight: float) -> float:
        yes = sigmoid(weight * x)
        return -math.log(yes if target else 1 - yes)

    tried = float(w * u > 0)
    w1 = w - rate * (sigmoid(w * u) - tried) * u
    sharp = sigmoid(w1 * u / 0.7)
    trusted = float(max(sharp, 1 - sharp) >= 0.5)
    proposed = float(w1 * u > 0)
    gradient = (sigmoid(w1 * x) - target) * x
    gradient += uda_weight * trusted * (sigmoid(w1 * u) - sharp) * u
    gradient += feedback_weight * (loss(w) - loss(w1)) * (sigmoid(w1 * u) - proposed) * u
    scale = min(1.0, clip / (abs(gradient) + 1e-6))  # torch adds the small number
    return w1 - rate * scale * gradient


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(
    ("uda_weight", "feedback_weight", "clip"),
    [
        (0.0, 0.0, 100.0),
        (8.0, 0.0, 100.0),
        (0.0, 50.0, 100.0),
        (8.0, 50.0, 100.0),
        (8.0, 50.0, 0.01),
    ],
)
def test_two_steps_by_hand(
    target: int, uda_weight: float, feedback_weight: float, clip: float
) -> None:
    """The clip of 0.01 would change the first step too, if it applied there."""
    found = weight_after(
        two_pictures(target),
        recipe=PLAIN.model_copy(update={"clip": clip}),
        uda_weight=uda_weight,
        feedback_weight=feedback_weight,
        threshold=0.5,
    )
    assert found == pytest.approx(by_hand(target, uda_weight, feedback_weight, clip), abs=1e-10)


def test_an_untrusted_view_has_no_part_in_the_consistency() -> None:
    common = {"feedback_weight": 0.0, "threshold": 0.9}
    trusted = weight_after(two_pictures(1), uda_weight=8.0, **common)
    assert trusted == weight_after(two_pictures(1), uda_weight=0.0, **common)


@pytest.mark.parametrize(("target", "raises"), [(1, True), (0, False)])
def test_labels_that_helped_are_reinforced(target: int, raises: bool) -> None:
    """The own label of the picture is "yes", which is also the truth where ``target`` is 1."""
    common = {"uda_weight": 0.0}
    without = weight_after(two_pictures(target), feedback_weight=0.0, **common)
    fed = weight_after(two_pictures(target), feedback_weight=1.0, **common)
    released = weight_after(two_pictures(target), feedback_weight=1.0, sign="released", **common)
    assert (fed > without) == raises
    assert (released > without) != raises
    assert fed != without


class Watching(Trainer):
    """Keeps what is registered and counts the steps of each optimiser."""

    def __init__(self, data: Data, steps: int, **options: Any) -> None:
        options = {"width": 8, **options}
        super().__init__(
            data, None, Settings(budget=Budget(steps=steps), threads=1, options=options)
        )
        self.parts: dict[str, Any] = {}
        self.steps_made: list[Any] = []

    def register(self, **parts: Any) -> None:
        self.parts.update(parts)
        super().register(**parts)

    def update(self, loss: Tensor, optimizer: Any) -> bool:
        if moved := super().update(loss, optimizer):
            self.steps_made.append(optimizer)
        return moved


SMALL: dict[str, Any] = {"batch": 16, "ratio": 2, "recipe": Recipe(lr=0.05), "threshold": 0.2}


def tensors(parts: dict[str, Any]) -> int:
    networks = [part for name, part in parts.items() if isinstance(part, nn.Module)]
    return len({id(p) for network in networks for p in network.parameters()})


def test_one_network_two_steps_and_momentum_in_the_second(digits_data: Data) -> None:
    alone, pair = Watching(digits_data, 3), Watching(digits_data, 3)
    SelfMetaPseudoLabels(**SMALL).fit(alone.data, alone)
    MetaPseudoLabels(**SMALL, finetune_share=0.0).fit(pair.data, pair)
    assert 2 * tensors(alone.parts) == tensors(pair.parts) > 0
    first, second = alone.parts["first"], alone.parts["optimizer"]
    assert [step is first for step in alone.steps_made] == [True, False] * 3
    assert alone.steps_made[1] is second
    # The first step has no memory: momentum is the second one's.
    kept = [
        [state.get("momentum_buffer") is not None for state in each.torch.state.values()]
        for each in (first, second)
    ]
    assert not any(kept[0])
    assert kept[1] and all(kept[1])
    assert "average" not in alone.parts


@pytest.mark.parametrize("empty", [True, False])
def test_without_what_is_its_own_it_is_supervised(digits_data: Data, empty: bool) -> None:
    """Group norm, because batch norm would see the other pictures of the batch."""
    data = unchanged(digits_data)
    values = {**SMALL, "first_step": False, "uda_weight": 0.0, "feedback_weight": 0.0}
    if empty:
        values, data = SMALL, data.with_train(data.labelled)
    found, expected = (Watching(data, 6, norm="group") for _ in range(2))
    SelfMetaPseudoLabels(**values).fit(found.data, found)
    Supervised(batch=16, recipe=SMALL["recipe"]).fit(expected.data, expected)
    student = expected.parts["student"].state_dict()
    for name, value in found.parts["model"].state_dict().items():
        torch.testing.assert_close(value, student[name], rtol=1e-4, atol=1e-5)


def test_sampled_labels_are_rewarded_themselves(
    digits_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No others were tried; argmax labels are read anew after the first step."""
    from leaven.methods.classification import self_meta_pseudo_labels as module

    drawn: list[Tensor] = []
    rewarded: list[Tensor] = []
    draw, reward = module.draw_labels, module.feedback_loss

    def drawing(*values: Any) -> Tensor:
        drawn.append(draw(*values))
        return drawn[-1]

    def rewarding(logits: Tensor, labels: Tensor, feedback: Tensor) -> Tensor:
        rewarded.append(labels)
        assert feedback.abs() > 0
        return reward(logits, labels, feedback)

    monkeypatch.setattr(module, "draw_labels", drawing)
    monkeypatch.setattr(module, "feedback_loss", rewarding)
    for mode, same in (("sample", True), ("argmax", False)):
        trainer = Watching(digits_data, 4)
        SelfMetaPseudoLabels(**{**SMALL, "label_mode": mode}).fit(trainer.data, trainer)
        assert all(map(torch.equal, drawn, rewarded)) == same
        drawn.clear()
        rewarded.clear()


def test_a_refused_first_step_refuses_the_batch(
    digits_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Watching.update

    def refuse(self: Watching, loss: Tensor, optimizer: Any) -> bool:
        broken = self.step == 1 and len(self.steps_made) == 2
        return original(self, loss * torch.nan if broken else loss, optimizer)

    monkeypatch.setattr(Watching, "update", refuse)
    trainer = Watching(digits_data, 3)
    SelfMetaPseudoLabels(**SMALL).fit(trainer.data, trainer)
    assert len(trainer.steps_made) == 4
    assert all(value.isfinite().all() for value in trainer.parts["model"].state_dict().values())


@pytest.mark.parametrize("first_recipe", [None, Recipe(lr=0.05)])
def test_a_refused_second_step_takes_the_first_one_back(
    digits_data: Data, monkeypatch: pytest.MonkeyPatch, first_recipe: Recipe | None
) -> None:
    """Momentum of the first step too, where it has one."""
    original, before = Watching.update, []

    def refuse(self: Watching, loss: Tensor, optimizer: Any) -> bool:
        if self.step == 1 and optimizer is self.parts["first"]:
            before.append(copy.deepcopy({name: self.parts[name].state_dict() for name in STATES}))
        broken = self.step == 1 and optimizer is self.parts["optimizer"]
        return original(self, loss * torch.nan if broken else loss, optimizer)

    monkeypatch.setattr(Watching, "update", refuse)
    trainer = Watching(digits_data, 2)
    SelfMetaPseudoLabels(**SMALL, first_recipe=first_recipe).fit(trainer.data, trainer)
    assert len(trainer.steps_made) == 3
    model, first = (trainer.parts[name].state_dict() for name in STATES)
    parameters = dict(trainer.parts["model"].named_parameters())
    assert all(torch.equal(model[name], before[0]["model"][name]) for name in parameters)
    for key, state in before[0]["first"]["torch"]["state"].items():
        found = first["torch"]["state"][key]["momentum_buffer"]
        assert found is state["momentum_buffer"] or torch.equal(found, state["momentum_buffer"])


STATES = ("model", "first")


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_the_first_step_of_another_optimizer_is_said(kind: Any, digits_data: Data) -> None:
    recipe = Recipe(optimizer=kind, lr=1e-3)
    with pytest.raises(ConfigError, match="first_recipe"):
        find_method("self-meta-pseudo-labels").configured({"recipe": recipe})
    SelfMetaPseudoLabels(**{**SMALL, "recipe": recipe, "first_step": False})
    trainer = Watching(digits_data, 2)
    SelfMetaPseudoLabels(**{**SMALL, "recipe": recipe, "first_recipe": PLAIN}).fit(
        trainer.data, trainer
    )
    assert trainer.parts["first"].recipe == PLAIN


def test_the_clip_of_the_recipe_stays(digits_data: Data) -> None:
    trainer = Watching(digits_data, 2)
    recipe = Recipe(lr=0.05, clip=8.0)
    SelfMetaPseudoLabels(**{**SMALL, "recipe": recipe}).fit(trainer.data, trainer)
    assert trainer.parts["optimizer"].recipe == recipe


def test_gathered_gradients_are_refused() -> None:
    with pytest.raises(ConfigError, match="recipe"):
        find_method("self-meta-pseudo-labels").configured({"recipe.accumulate": 2})


def test_end_to_end_beats_its_labels(digits_data: Data) -> None:
    settings = Settings(budget=Budget(steps=150), threads=1, options={"width": 16})
    trainer = Trainer(digits_data, None, settings)
    method = SelfMetaPseudoLabels(**{**SMALL, "threshold": 0.6, "uda_weight": 1.0, "uda_ramp": 0.2})
    fitted = method.fit(trainer.data, trainer)
    assert trainer.measure(fitted.model, digits_data.test)["accuracy"] > 0.8
    assert not fitted.model.training


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_resumed_run_ends_bit_identical(
    digits_data: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted], ema: float
) -> None:
    method = SelfMetaPseudoLabels(
        **{**SMALL, "ema": ema, "label_mode": "sample", "feedback_baseline": "normalised"},
        finetune_share=0.3,
        finetune_batch=16,
        finetune_recipe=Recipe(lr=0.01, schedule="constant"),
    )
    assert_resumes(method, digits_data, 20, tmp_path)
