"""The step of the family: FixMatch against a loop written out, and what a plug-in is put on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import leaven.methods
from leaven.data import Data
from leaven.errors import ConfigError
from leaven.methods import Card, Fitted
from leaven.methods.classification.fixmatch import FixMatch
from leaven.methods.classification.weak_strong import Plugin, Step, WeakStrong
from leaven.train import Recipe, Trainer

SMALL: dict[str, Any] = {"batch": 16, "ratio": 2, "ema": 0.9, "threshold": 0.3}


class Carded:
    """A card that is inherited is not listed among the methods."""

    card: ClassVar[Card] = Card(
        name="put-on", title="", summary="", task="", evidence="", year=None, venue="", paper=""
    )


class PutOn(Carded, Plugin):
    """Changes nothing."""


def run(method: WeakStrong, data: Data, steps: int, trainer_for: Callable[..., Trainer]) -> Fitted:
    trainer = trainer_for(data, steps)
    return method.fit(trainer.data, trainer)


def assert_same(first: Fitted, second: Fitted) -> None:
    left, right = first.model.state_dict(), second.model.state_dict()
    for name in left:
        assert torch.equal(left[name], right[name]), name
    assert torch.equal(first.labels.weight, second.labels.weight)


def fixmatch_written_out(method: FixMatch, data: Data, trainer: Trainer) -> dict[str, Tensor]:
    student = trainer.model()
    average = {name: value.clone() for name, value in student.named_parameters()}
    optimizer = trainer.optimizer(student, method.recipe)
    weak, strong = data.views()
    for batch in trainer.steps(
        labelled=data.labelled.batches(method.batch),
        unlabelled=data.unlabelled.batches(method.batch * method.ratio),
    ):
        views = [
            weak(batch.labelled.images, trainer.draws),
            weak(batch.unlabelled.images, trainer.draws),
            strong(batch.unlabelled.images, trainer.draws),
        ]
        if method.joint:
            sizes = [len(view) for view in views]
            logits, weak_logits, strong_logits = student(torch.cat(views)).split(sizes)
        else:
            seen = student(torch.cat([views[0], views[2]]))
            logits, strong_logits = seen.split([len(views[0]), len(views[2])])
            with torch.no_grad():
                weak_logits = student(views[1])
        confidence, classes = weak_logits.detach().softmax(1).max(1)
        each = F.cross_entropy(strong_logits, classes, reduction="none")
        loss = F.cross_entropy(logits, batch.labelled.targets)
        loss = loss + method.unlabelled_weight * (each * (confidence >= method.threshold)).mean()
        trainer.update(loss, optimizer)
        decay = min(method.ema, (2 + batch.step) / (11 + batch.step))
        for name, value in student.named_parameters():
            average[name] = decay * average[name] + (1 - decay) * value.detach()
    return average


@pytest.mark.parametrize("joint", [True, False])
def test_fixmatch_equals_its_loop_written_out(
    digits_data: Data, trainer_for: Callable[..., Trainer], joint: bool
) -> None:
    method = FixMatch(joint=joint, unlabelled_weight=0.7, **SMALL)
    found = dict(run(method, digits_data, 8, trainer_for).model.named_parameters())
    trainer = trainer_for(digits_data, 8)
    expected = fixmatch_written_out(method, trainer.data, trainer)
    fresh = dict(trainer_for(digits_data, 8).model().named_parameters())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    assert any((found[name] - fresh[name]).abs().max() > 1e-3 for name in found)


@pytest.mark.parametrize("align", ["none", "mean", "allocation"])
def test_fixmatch_resumes(
    digits_data: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted], align: Any
) -> None:
    assert_resumes(FixMatch(align=align, **SMALL), digits_data, 12, tmp_path)


@pytest.mark.parametrize(
    "base", ["fixmatch", "pseudo-label", "adamatch", "freematch", "sequencematch"]
)
def test_a_plugin_that_changes_nothing_is_its_base(
    digits_data: Data, trainer_for: Callable[..., Trainer], base: str
) -> None:
    host = leaven.methods.find_method(base).configured(SMALL)
    assert isinstance(host, WeakStrong)
    plugin = PutOn(base=base, **SMALL)
    assert_same(run(plugin, digits_data, 5, trainer_for), run(host, digits_data, 5, trainer_for))


def test_fields_of_a_plugin_hold_for_its_base() -> None:
    assert PutOn(base="uda").host.threshold == 0.8
    assert PutOn(base="uda").acceptance == 0.8
    assert PutOn(base="uda", threshold=0.5).host.threshold == 0.5
    assert PutOn(base="uda", base_set={"temperature": 0.3}).host.temperature == 0.3  # type: ignore[attr-defined]


FAMILY = list(WeakStrong.model_fields)
"""What a plug-in and its base have in common."""


@pytest.mark.parametrize("base", ["fixmatch", "pseudo-label", "adamatch", "dash", "defixmatch"])
def test_what_is_not_set_is_as_the_base_has_it_also_when_read_again(base: str) -> None:
    alone = leaven.methods.find_method(base)()
    for values in ({}, {"ratio": 5}, {"ema": 0.5, "recipe": Recipe(lr=0.2)}):
        plugin = PutOn(base=base, **values)
        expected = {name: getattr(alone, name) for name in FAMILY} | values
        again = PutOn.model_validate_json(plugin.model_dump_json())
        for one in (plugin, plugin.host, again, again.host):
            assert {name: getattr(one, name) for name in FAMILY} == expected
    assert PutOn.configured({"base": base, "recipe.lr": 0.2}).host.recipe == Recipe(lr=0.2)


def test_a_plugin_that_sets_nothing_is_its_base(
    digits_data: Data, trainer_for: Callable[..., Trainer]
) -> None:
    methods = PutOn(base="pseudo-label"), leaven.methods.find_method("pseudo-label")()
    assert methods[0].ratio == 1
    assert_same(*(run(method, digits_data, 2, trainer_for) for method in methods))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values", [{"ratio": 3}, {"threshold": 0.6}, {"recipe.lr": 0.1}, {"recipe": {"lr": 0.1}}]
)
def test_what_both_have_is_set_once(values: dict[str, Any]) -> None:
    name = next(iter(values)).partition(".")[0]
    with pytest.raises(ConfigError, match=f"base_set of put-on has {name}"):
        PutOn(base_set=values)


def test_a_plugin_that_needs_strong_views_names_the_bases_with_them() -> None:
    class NeedsStrong(PutOn):
        needs_strong = True

    assert NeedsStrong(base="uda").host.threshold == 0.8
    with pytest.raises(ConfigError, match="cannot be put on pseudo-label") as caught:
        NeedsStrong(base="pseudo-label")
    assert "fixmatch" in caught.value.expected and "pseudo-label" not in caught.value.expected


@pytest.mark.parametrize("base", ["supervised", "simmatch"])
def test_a_base_has_this_step(base: str) -> None:
    with pytest.raises(ConfigError, match=f"put-on cannot be put on {base}"):
        _ = PutOn(base=base).host


def test_a_base_is_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaven.methods, "find_method", lambda name: PutOn)
    with pytest.raises(ConfigError, match="cannot be put on"):
        _ = PutOn(base="put-on").host


@pytest.mark.parametrize(
    ("base", "values"), [("fixmach", {}), ("fixmatch", {"temperature": 1.0}), ("uda", {"x": 1})]
)
def test_unknown_bases_and_their_unknown_fields_are_named(
    base: str, values: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="no method|no hyperparameter"):
        _ = PutOn(base=base, base_set=values).host


def test_a_part_of_another_kind_is_not_given(
    digits_data: Data, trainer_for: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Step] = []
    monkeypatch.setattr(WeakStrong, "_observe", lambda self, step, losses: steps.append(step))
    run(FixMatch(align="mean", **SMALL), digits_data, 1, trainer_for)
    assert steps[0].part("align", torch.nn.Module) is steps[0].parts["align"]
    with pytest.raises(AssertionError, match="DistributionAlignment"):
        steps[0].part("align", torch.nn.Linear)
