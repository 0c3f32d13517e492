"""Dual pseudo training: its labels, its pictures, its limit, and a run end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leaven.data import Data, JoinedPixels
from leaven.errors import ConfigError, DataError
from leaven.methods import Fitted, find_method
from leaven.methods.classification import dual_pseudo_training
from leaven.methods.classification.dual_pseudo_training import DualPseudoTraining, augmented
from leaven.train import Trainer

STAGE = {"batch": 16, "ratio": 2, "ema": 0.9, "fairness_weight": 0.0}
SMALL: dict[str, Any] = {
    "stage_set": STAGE,
    "per_class": 3,
    "width": 8,
    "blocks": 1,
    "generator_batch": 16,
    "sampling_steps": 3,
}


def test_a_run_resumes_in_every_stage(
    digits_data: Data, assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    method = DualPseudoTraining(**SMALL)
    fitted = assert_resumes(method, digits_data, 18, tmp_path, breaks=(0.25, 0.6, 0.95))
    assert len(fitted.labels) == len(digits_data.unlabelled)


def same(found: Fitted, expected: Fitted) -> bool:
    state = found.model.state_dict()
    weights = (torch.equal(state[n], v) for n, v in expected.model.state_dict().items())
    return all(weights) and torch.equal(found.labels.probs, expected.labels.probs)


def test_without_pictures_it_is_the_stage(
    digits_data: Data, trainer_for: Callable[..., Trainer]
) -> None:
    trainers = [trainer_for(digits_data, 6) for _ in range(3)]
    stage = find_method("freematch").configured(STAGE)
    expected = stage.fit(trainers[0].data, trainers[0])
    method = DualPseudoTraining(**SMALL | {"per_class": 0})
    assert same(method.fit(trainers[1].data, trainers[1]), expected)
    # Stage 3 itself, with no made picture.
    nothing = torch.empty(0, 1, 8, 8, dtype=torch.uint8)
    data = augmented(trainers[2].data, nothing, torch.empty(0, dtype=torch.int64))
    assert same(method.learner.fit(data, trainers[2]), expected)


class Stages(Trainer):
    """Keeps what the stages found and which models were asked for labels of what."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer.data, None, trainer.settings)
        self.found: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self.found[name] = super().once(name, make)
        return self.found[name]

    def register(self, **parts: Any) -> None:
        self.parts.update(parts)
        super().register(**parts)


@pytest.fixture
def run(
    digits_data: Data, trainer_for: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> tuple[Stages, list[Data], list[Any], list[dict[str, Any]]]:
    """A run, the data of its stages, the models of its stages, and what was sampled with."""
    stages, seen, models = Stages(trainer_for(digits_data, 12)), [], []
    sampled: list[dict[str, Any]] = []
    kind = find_method("freematch")
    fit, sample = kind.fit, dual_pseudo_training.sample_pictures

    def watched(self: Any, data: Data, trainer: Trainer) -> Fitted:
        seen.append(data)
        fitted = fit(self, data, trainer)
        models.append(fitted.model)
        return fitted

    def sampling(network: Any, *args: Any, **kwargs: Any) -> Tensor:
        sampled.append({"network": network} | kwargs)
        return sample(network, *args, **kwargs)

    monkeypatch.setattr(kind, "fit", watched)
    monkeypatch.setattr(dual_pseudo_training, "sample_pictures", sampling)
    DualPseudoTraining(**SMALL).fit(stages.data, stages)
    return stages, seen, models, sampled


def test_all_pictures_get_one_hard_label_in_eval_mode(run: Any) -> None:
    stages, _, models, _ = run
    classes, train = stages.found["pseudo_labels"]["labels"], stages.data.train
    assert classes.shape == (len(train),) and classes.dtype == torch.int64
    first = models[0].eval()
    expected = torch.cat(
        [first(train.pixels.batch(i)).argmax(1) for i in torch.arange(len(train)).split(100)]
    )
    assert torch.equal(classes, expected)


def test_every_class_has_as_many_pictures_and_each_its_conditioning_label(run: Any) -> None:
    stages, seen, _, sampled = run
    made = stages.found["made"]
    assert torch.bincount(made["classes"]).tolist() == [3] * 10
    assert made["pictures"].shape == (30, 1, 8, 8) and made["pictures"].dtype == torch.uint8
    first, last = seen
    assert first is stages.data
    extra = last.labelled.subset(torch.arange(len(first.labelled), len(last.labelled)))
    assert torch.equal(extra.labels, made["classes"])
    assert torch.equal(extra.pixels.batch(torch.arange(30)), made["pictures"])
    assert torch.equal(last.labelled.labels[: len(first.labelled)], first.labelled.labels)
    assert list(last.unlabelled.names) == list(first.unlabelled.names)
    assert sampled[0]["null"] == 10 and sampled[0]["guidance"] == 0.4


def test_pictures_come_from_averaged_weights_and_the_last_stage_starts_anew(run: Any) -> None:
    stages, _, models, sampled = run
    assert sampled[0]["network"] is stages.parts["denoiser_average"].module
    raw = stages.parts["denoiser"].state_dict()
    assert any(not torch.equal(raw[n], v) for n, v in sampled[0]["network"].state_dict().items())
    assert models[0] is not models[1]


def test_the_generator_learns_all_pictures_with_the_labels_of_stage_1(
    digits_data: Data, trainer_for: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the labelled ones, of which the label that people gave is not put back."""
    stages, learnt = Stages(trainer_for(digits_data, 9)), []
    drop = dual_pseudo_training.drop_classes

    def watched(classes: Tensor, null: int, probability: float, draws: Any) -> Tensor:
        learnt.append(classes)
        return drop(classes, null, probability, draws)

    monkeypatch.setattr(dual_pseudo_training, "drop_classes", watched)
    monkeypatch.setattr(dual_pseudo_training, "denoising_loss", lambda net, *_: _any_loss(net))
    DualPseudoTraining(**SMALL | {"generator_batch": len(digits_data.train)}).fit(
        stages.data, stages
    )
    counts = torch.bincount(stages.found["pseudo_labels"]["labels"], minlength=10)
    assert torch.equal(torch.bincount(learnt[0], minlength=10), counts)


def test_a_stage_without_steps_leaves_them_to_the_generator(
    digits_data: Data, trainer_for: Callable[..., Trainer], trained_net: Path
) -> None:
    """The other route of the paper: logistic regression on features before and after."""
    stages = Stages(trainer_for(digits_data, 5, weights=trained_net))
    probe = find_method("linear-probe")()
    first = probe.fit(stages.data, stages).model
    fitted = DualPseudoTraining(**SMALL | {"stage": "linear-probe", "stage_set": {}}).fit(
        stages.data, stages
    )
    assert stages.step == 5
    train, made = stages.data.train, stages.found["made"]
    expected = stages.predict(first, train).argmax(1)
    assert torch.equal(stages.found["pseudo_labels"]["labels"], expected)
    last = augmented(stages.data, made["pictures"], made["classes"])
    assert same(fitted, probe.fit(last, stages))
    assert not torch.equal(fitted.model.head.weight, first.head.weight)


def test_a_stage_has_its_own_defaults() -> None:
    assert DualPseudoTraining().learner.fairness_weight == 0.0
    assert DualPseudoTraining(stage_set={"batch": 8}).learner.fairness_weight == 0.0
    assert DualPseudoTraining(stage="linear-probe").learner.card.name == "linear-probe"


@pytest.mark.parametrize("stage", ["divide-mix", "co-teaching"])
def test_stages_that_doubt_labels_see_made_pictures_too(
    digits_data: Data,
    trainer_for: Callable[..., Trainer],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    labelled: list[int] = []
    steps = Trainer.steps

    def watched(self: Trainer, **named: Any) -> Any:
        streams = named | (named.get("streams") or {})
        if "labelled" in streams:
            labelled.append(len(streams["labelled"].targets))
        return steps(self, **named)

    monkeypatch.setattr(Trainer, "steps", watched)
    trainer = trainer_for(digits_data, 9)
    method = DualPseudoTraining(**SMALL | {"stage": stage, "stage_set": {"batch": 16, "ema": 0.9}})
    fitted = method.fit(trainer.data, trainer)
    own = len(digits_data.labelled)
    count = len(labelled) // 2
    assert labelled == [own] * count + [own + 30] * count and count > 0
    # What is believed of the labels that people gave, and of no other.
    assert fitted.given is None or len(fitted.given) == own


def _any_loss(network: Any) -> Tensor:
    return next(network.parameters()).square().mean()


def test_what_cannot_be_a_stage() -> None:
    with pytest.raises(ConfigError, match="dual-pseudo-training cannot be a stage"):
        _ = DualPseudoTraining(stage="dual-pseudo-training").learner
    with pytest.raises(ConfigError, match="no hyperparameter 'thresh'"):
        _ = DualPseudoTraining(stage_set={"thresh": 1}).learner
    with pytest.raises(ConfigError, match="leave something for stage 3"):
        DualPseudoTraining.configured({"label_share": 0.5, "generate_share": 0.5})


def test_feature_rows_are_refused(feature_data: Data, trainer_for: Callable[..., Trainer]) -> None:
    with pytest.raises(DataError, match="feature rows"):
        DualPseudoTraining(**SMALL).fit(feature_data, trainer_for(feature_data, 3))


def test_pictures_join_those_that_are_decoded_when_wanted(digits_data: Data) -> None:
    """What is not in memory stays where it is."""
    from dataclasses import replace

    train = digits_data.train
    order = torch.arange(len(train)).flip(0)
    lazy = replace(train, pixels=JoinedPixels([train.pixels], order))
    made = torch.full((2, 1, 8, 8), 7, dtype=torch.uint8)
    joined = lazy.with_pictures(made, torch.tensor([4, 5]), "made")
    index = torch.tensor([0, len(train), len(train) + 1])
    expected = torch.cat([train.pixels.batch(order[:1]), made])
    assert torch.equal(joined.pixels.batch(index), expected)
    assert torch.equal(
        joined.pixels.subset(index).to(torch.device("cpu")).batch(torch.arange(3)), expected
    )
    assert joined.names[-1] == "made/1" and joined.labels[-2:].tolist() == [4, 5]
    assert joined.truth[-2:].tolist() == [-1, -1]
