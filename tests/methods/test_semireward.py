"""SemiReward: the base untouched before the start, the filter after it, and a run end to end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leaven.data import Data
from leaven.methods import Fitted, find_method
from leaven.methods.classification.semireward import SemiReward
from leaven.methods.classification.weak_strong import Step
from leaven.select import RewardModel, above_mean, fixed_threshold
from leaven.train import Recipe, Trainer

SMALL: dict[str, Any] = {"batch": 16, "ratio": 2, "threshold": 0.2}
Make = Callable[..., Trainer]


def watched(trainer: Trainer, **options: Any) -> list[dict[str, Any]]:
    """What is known after every step of a run."""
    records: list[dict[str, Any]] = []

    class Watched(SemiReward):
        def after(self, step: Step) -> None:
            before = copy.deepcopy(step.part("reward", RewardModel))
            super().after(step)
            records.append({"step": step, "before": before, "weight": step.weight.clone()})
            records[-1]["reward"] = copy.deepcopy(step.part("reward", RewardModel))

    Watched(**SMALL | {"least": 0} | options).fit(trainer.data, trainer)
    return records


def same(left: RewardModel, right: RewardModel) -> bool:
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("base", ["fixmatch", "pseudo-label"])
def test_before_the_start_it_is_the_base_bit_for_bit(
    digits_data: Data, trainer_for: Make, base: str
) -> None:
    models = []
    for method in (SemiReward(base=base, start=1.0, **SMALL), find_method(base)(**SMALL)):
        trainer = trainer_for(digits_data, 8)
        models.append(method.fit(trainer.data, trainer).model.state_dict())
    for name, value in models[0].items():
        assert torch.equal(value, models[1][name]), name


def test_rewards_learn_from_labelled_items_and_then_from_the_best_batch(
    digits_data: Data, trainer_for: Make
) -> None:
    """In every step from labelled items; every third one from the best batch as well."""
    records = watched(trainer_for(digits_data, 12), start=0.5, every=3)
    assert len(records) == 12
    for number, record in enumerate(records):
        assert not same(record["before"], record["reward"])
        assert record["reward"].updates == number + 1
        twin, step = copy.deepcopy(record["before"]), record["step"]
        twin.learn(step.seen["labelled"].features, step.targets)
        assert same(twin, record["reward"]) == (number < 6 or number % 3 > 0)
    kept = records[7]["reward"]
    means = [r["before"].reward(_weak(r), r["step"].probs.argmax(1)).mean() for r in records[7:8]]
    assert kept.best_reward == means[0]
    assert torch.equal(kept.best_features, _weak(records[7]))
    assert torch.equal(kept.best_labels.argmax(1), records[7]["step"].probs.argmax(1))


def test_of_gathered_gradients_the_updates_of_the_rewarder_count(
    digits_data: Data, trainer_for: Make
) -> None:
    """Of 8 batches 4 move the weights; every second of these 4 updates is with the best batch."""
    records = watched(
        trainer_for(digits_data, 8), start=0.0, least=1, every=2, recipe=Recipe(accumulate=2)
    )
    assert [record["step"].batch.step for record in records] == [1, 3, 5, 7]
    for number, record in enumerate(records):
        twin, step = copy.deepcopy(record["before"]), record["step"]
        assert twin.updates == number
        twin.learn(step.seen["labelled"].features, step.targets)
        assert same(twin, record["reward"]) == (number % 2 > 0 or number == 0)
        base = fixed_threshold(step.probs.max(1).values, 0.2)
        assert torch.equal(record["weight"], base) == (number == 0)


def _weak(record: dict[str, Any]) -> Tensor:
    features: Tensor = record["step"].seen["weak"].features.detach()
    return features


def test_the_weight_is_the_base_weight_times_the_filter(
    digits_data: Data, trainer_for: Make
) -> None:
    records = watched(trainer_for(digits_data, 10), start=0.5)
    for number, record in enumerate(records):
        probs = record["step"].probs
        weight = fixed_threshold(probs.max(1).values, 0.2)
        if number >= 5:
            kept = above_mean(record["before"].reward(_weak(record), probs.argmax(1)))
            assert 0 < kept.mean() < 1
            weight = weight * kept
        assert torch.equal(record["weight"], weight)


def test_a_reward_of_few_updates_does_not_filter(digits_data: Data, trainer_for: Make) -> None:
    for record in watched(trainer_for(digits_data, 8), start=0.0, least=6):
        base = fixed_threshold(record["step"].probs.max(1).values, 0.2)
        filtered = not torch.equal(record["weight"], base)
        assert filtered == (record["step"].batch.step >= 6)


def test_the_loss_of_the_base_does_not_move_rewards(digits_data: Data, trainer_for: Make) -> None:
    for record in watched(trainer_for(digits_data, 4), start=0.5, every=100):
        reward: RewardModel = record["reward"]
        assert all(parameter.grad is None for parameter in reward.parameters())


def test_the_average_of_its_own_base_still_counts(digits_data: Data, trainer_for: Make) -> None:
    """Parts and heads of the base (here CoMatch's memory and embeddings) live beside the reward."""
    trainer = trainer_for(digits_data, 4)
    method = SemiReward(base="comatch", base_set={"memory_batches": 2}, start=0.5, least=0, **SMALL)
    assert method.fit(trainer.data, trainer).labels.accepted_share >= 0
    assert trainer.step == 4


@pytest.mark.parametrize("base", ["fixmatch", "pseudo-label"])
def test_a_resumed_run_ends_bit_identical(
    digits_data: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted], base: str
) -> None:
    method = SemiReward(base=base, start=0.4, every=2, **SMALL)
    assert_resumes(method, digits_data, 12, tmp_path)
