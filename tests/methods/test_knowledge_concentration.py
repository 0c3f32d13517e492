"""Knowledge Concentration: verticals, specialists, who teaches what, and a run end to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaven.data import Data
from leaven.errors import ConfigError, DataError
from leaven.learn import cross_entropy
from leaven.learn.distillation import distillation
from leaven.methods import Fitted, find_method
from leaven.methods.classification.knowledge_concentration import KnowledgeConcentration, Teachers
from leaven.models import load_model, save_model
from leaven.models.structured import StructuredHead
from leaven.train import Budget, Recipe, Settings, Trainer

HALVES = {str(digit): "odd" if digit % 2 else "even" for digit in range(10)}
SMALL: dict[str, Any] = {
    "verticals": HALVES,
    "batch": 16,
    "ema": 0.9,
    "recipe": Recipe(lr=0.05),
    "specialist_recipe": Recipe(lr=0.05),
}


class Unchanged(Data):
    """Data whose views are the pictures themselves."""

    def views(self) -> Any:
        return (lambda images, draws: images,) * 2


class Watching(Trainer):
    """Keeps what is registered and observed; and the specialists as the student began."""

    def __init__(self, data: Data, steps: int, width: int = 8) -> None:
        settings = Settings(budget=Budget(steps=steps), threads=1, options={"width": width})
        super().__init__(data, None, settings)
        self.parts: dict[str, Any] = {}
        self.seen: list[dict[str, Any]] = []
        self.frozen: dict[str, Tensor] = {}

    def register(self, **parts: Any) -> None:
        self.parts.update(parts)
        if "pacing" in parts:
            state = self.parts["specialists"].state_dict()
            self.frozen = {name: value.clone() for name, value in state.items()}
        super().register(**parts)

    def observe(self, **values: Any) -> None:
        self.seen.append(values)
        super().observe(**values)


def fit(data: Data, steps: int, **values: Any) -> tuple[Fitted, Watching]:
    trainer = Watching(data, steps)
    return KnowledgeConcentration(**{**SMALL, **values}).fit(trainer.data, trainer), trainer


def test_verticals_by_mapping_and_by_prefix() -> None:
    names, numbers = KnowledgeConcentration(
        verticals={"a": "x", "b": "y", "c": "x", "d": "y"}
    ).vertical_of(("a", "b", "c", "d"))
    assert names == ("x", "y") and numbers.tolist() == [0, 1, 0, 1]
    names, numbers = KnowledgeConcentration().vertical_of(("birds/owl", "cars/a/b", "birds/jay"))
    assert names == ("birds", "cars") and numbers.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("values", "classes", "match"),
    [
        ({}, ("a/1", "2"), "'2' has no vertical"),
        ({"verticals": {"a": "x"}}, ("a", "b"), "'b' has no vertical"),
        ({"verticals": {"a": "x", "b": "x", "z": "x"}}, ("a", "b"), "do not have"),
        ({"other": False}, ("a/1", "a/2", "b/1"), "'b' has a single class"),
    ],
)
def test_bad_verticals_are_refused(
    values: dict[str, Any], classes: tuple[str, ...], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        KnowledgeConcentration(**values).vertical_of(classes)


class Says(nn.Module):
    """Logits that tell who spoke and of which picture."""

    def __init__(self, number: int, outputs: int) -> None:
        super().__init__()
        self.number, self.outputs, self.asked = number, outputs, 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        grey = images[:, 0, 0, 0].float().unsqueeze(1)
        return 100 * self.number + grey + torch.arange(self.outputs) / 10


def test_a_vertical_without_a_labelled_picture_is_named(digits_data: Data) -> None:
    even = digits_data.train.labels % 2 == 0
    labels = torch.where(even, digits_data.train.labels, -1)
    data = digits_data.with_train(replace(digits_data.train, labels=labels))
    trainer = Watching(data, steps=4)
    with pytest.raises(DataError, match="No picture of the vertical 'odd' is labelled"):
        KnowledgeConcentration(**SMALL).fit(trainer.data, trainer)


def test_each_picture_is_taught_by_its_specialist_alone() -> None:
    verticals = torch.tensor([1, 0, 1, 0, 0])
    said = nn.ModuleList([Says(0, 4), Says(1, 3)])  # with one output for others
    teachers = Teachers(said, verticals)
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    found = teachers(images, torch.tensor([1, 0, 0, 1]))
    inf = torch.inf
    expected = [
        [100.0, -inf, 100.1, -inf, -inf],
        [-inf, 1.0, -inf, 1.1, 1.2],
        [-inf, 2.0, -inf, 2.1, 2.2],
        [103.0, -inf, 103.1, -inf, -inf],
    ]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert [module.asked for module in said] == [2, 2]
    alone = teachers(images, torch.tensor([1, 1, 1, 1]))
    assert said[0].asked == 2 and torch.isinf(alone[:, 1]).all()


def test_specialists_are_frozen_and_of_their_vertical(digits_data: Data) -> None:
    _, trainer = fit(digits_data, 12)
    specialists = trainer.parts["specialists"]
    assert [len(one.spec.classes) for one in specialists] == [6, 6]
    assert specialists[0].spec.classes == ("0", "2", "4", "6", "8", "other")
    assert not any(p.requires_grad for p in specialists.parameters())
    for name, value in specialists.state_dict().items():
        assert torch.equal(value, trainer.frozen[name])
    assert {id(p) for p in trainer.parts["optimizer"].parameters} == {
        id(p) for p in trainer.parts["student"].parameters()
    }


def test_a_specialist_has_its_own_width_and_may_lack_other(digits_data: Data) -> None:
    _, trainer = fit(digits_data, 6, specialist_options={"width": 16}, other=False)
    assert all(one.num_features == 64 for one in trainer.parts["specialists"])
    assert [len(one.spec.classes) for one in trainer.parts["specialists"]] == [5, 5]
    assert trainer.parts["student"].num_features == 32


def test_one_vertical_and_a_dense_layer_are_classic_distillation(digits_data: Data) -> None:
    data = Unchanged(**{f.name: getattr(digits_data, f.name) for f in fields(digits_data)})
    data = data.with_train(data.labelled)
    values = {
        "verticals": dict.fromkeys(data.classes, "all"),
        "layer": "dense",
        "pacing": "constant",
        "distillation_weight": 0.7,
    }
    _, trainer = fit(data, 12, **values)
    (teacher,) = trainer.parts["specialists"]
    assert teacher.spec.classes == data.classes

    again = Watching(data, 12)
    student = again.model()
    optimizer = again.optimizer(student, SMALL["recipe"])
    for batch in again.steps(share=0.5, labelled=data.labelled.batches(16)):
        images, targets = batch.labelled.images, batch.labelled.targets
        logits = student(images)
        taught = distillation(logits, teacher(images), 3.0)
        again.update(cross_entropy(logits, targets) + 0.7 * taught, optimizer)
    expected = student.state_dict()
    for name, value in trainer.parts["student"].state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def test_teachers_that_err_are_passed_over(digits_data: Data) -> None:
    """With specialists of a single step, which err on nearly everything."""
    common = {"specialist_share": 0.05, "pacing": "constant"}
    _, whole = fit(digits_data.with_train(digits_data.labelled), 20, **common)
    _, some = fit(digits_data.with_train(digits_data.labelled), 20, skip_wrong=True, **common)

    def taught(trainer: Watching) -> list[float]:
        return [float(v["losses"]["distillation"].detach()) for v in trainer.seen if "pace_0" in v]

    assert 0 < taught(some)[0] < 0.7 * taught(whole)[0]


def test_unlabelled_pictures_are_taught(digits_data: Data) -> None:
    with_them, trainer = fit(digits_data, 20)
    without, _ = fit(digits_data.with_train(digits_data.labelled), 20)
    routes = trainer.parts["routes"].teacher
    assert len(routes) == len(digits_data.unlabelled) and set(routes.tolist()) <= {0, 1}
    assert len(without.labels) == 0 and len(with_them.labels) == len(routes)
    left, right = (f.model.state_dict()["head.to_shared"] for f in (with_them, without))
    assert not torch.equal(left, right)


def test_the_union_is_predicted_without_a_vertical(digits_data: Data, tmp_path: Path) -> None:
    fitted, _ = fit(digits_data, 12)
    verticals = torch.tensor([digit % 2 for digit in range(10)])
    assert digits_data.test is not None
    images = digits_data.test.pixels.batch(torch.arange(200))
    logits = fitted.model(images)
    said = logits.argmax(1)
    assert logits.shape == (200, 10)
    crossed = verticals[said] != verticals[digits_data.test.truth[:200]]
    assert crossed.any() and not crossed.all()
    again = load_model(save_model(fitted.model, tmp_path / "model"))
    assert isinstance(again.head, StructuredHead)
    torch.testing.assert_close(again(images), logits)


@pytest.mark.parametrize(("layer", "shared"), [("structured", 16), ("local", 0)])
def test_layers(digits_data: Data, layer: Any, shared: int) -> None:
    fitted, _ = fit(digits_data, 6, layer=layer)
    head = fitted.model.head
    assert isinstance(head, StructuredHead)
    assert (head.shared, head.private, head.groups) == (shared, 4, (0, 1) * 5)


def test_the_pace_is_that_of_the_gaps(digits_data: Data) -> None:
    _, trainer = fit(digits_data, 40, pacing_momentum=0.5, specialist_share=0.8)
    pacing = trainer.parts["pacing"]
    paces = [[float(v[f"pace_{n}"]) for n in range(2)] for v in trainer.seen if "pace_0" in v]
    assert paces[0] == [1, 1] and paces[-1] == pytest.approx(pacing().tolist())
    expected = (pacing.gap / pacing.start).clamp(0, 1)
    torch.testing.assert_close(pacing(), expected)
    assert min(paces[-1]) < 1
    _, constant = fit(digits_data, 10, pacing="constant")
    assert all(float(v["pace_1"]) == 1 for v in constant.seen if "pace_1" in v)
    _, hard = fit(digits_data, 10, pacing="hard", slack=100.0)
    assert all(float(v["pace_0"]) == 0 for v in hard.seen if "pace_0" in v)


def test_from_the_command_line() -> None:
    method = find_method("knowledge-concentration").configured({"verticals": {"a": "x"}})
    assert method.verticals == {"a": "x"} and not method.needs_unlabelled


def test_end_to_end_beats_chance(digits_data: Data) -> None:
    names = tuple(f"{HALVES[name]}/{name}" for name in digits_data.classes)
    data = replace(digits_data, classes=names)
    trainer = Watching(data, 240, width=16)
    fitted = KnowledgeConcentration(**{**SMALL, "verticals": {}}).fit(trainer.data, trainer)
    assert trainer.measure(fitted.model, data.test)["accuracy"] > 0.7


@pytest.mark.parametrize("layer", ["structured", "dense"])
def test_a_resumed_run_ends_bit_identical(
    digits_data: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted], layer: Any
) -> None:
    """Broken off while a specialist learns, and while the student does."""
    method = KnowledgeConcentration(**{**SMALL, "layer": layer})
    assert_resumes(method, digits_data, 24, tmp_path, breaks=(0.2, 0.4, 0.8))
