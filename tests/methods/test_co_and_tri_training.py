from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from leaven.data import Data
from leaven.errors import ConfigError
from leaven.methods import Fitted, find_method
from leaven.methods.classification.co_training import CoTraining
from leaven.methods.classification.self_training import SelfTraining
from leaven.methods.classification.tri_training import TriTraining
from leaven.methods.classification.with_estimator import WithEstimator
from leaven.train import Trainer

MakeTrainer = Callable[..., Trainer]
QUICK: dict[str, Any] = {"batch": 16, "ratio": 2, "ema": 0.9, "estimator": "naive-bayes"}
GENERATOR = torch.Generator().manual_seed(0)


def right(method: WithEstimator, data: Data, trainer_for: MakeTrainer) -> float:
    trainer = trainer_for(data, 1)
    labels, _ = method.label(trainer.data, trainer)
    return float((labels.classes == data.unlabelled.truth).float().mean())


@pytest.mark.parametrize("method", [CoTraining(**QUICK, max_rounds=3), TriTraining(**QUICK)])
def test_a_run_resumes(
    method: WithEstimator,
    digits_data: Data,
    assert_resumes: Callable[..., Fitted],
    tmp_path: Path,
) -> None:
    fitted = assert_resumes(method, digits_data, 9, tmp_path, breaks=(0.5,))
    right = (fitted.labels.classes == digits_data.unlabelled.truth).float().mean()
    assert float(right) > 0.6
    assert 0 < fitted.labels.accepted_share < 1
    assert find_method(method.card.name) is type(method)


def test_views_are_a_split_of_the_columns() -> None:
    first, second = CoTraining().views(5, GENERATOR)
    assert first.tolist() == [0, 1] and second.tolist() == [2, 3, 4]
    first, second = CoTraining(split="random").views(64, GENERATOR)
    assert len(first) == 32 and sorted([*first.tolist(), *second.tolist()]) == list(range(64))
    assert first.tolist() != list(range(32))
    first, second = CoTraining(split=(3, 0)).views(4, GENERATOR)
    assert first.tolist() == [0, 3] and second.tolist() == [1, 2]


@pytest.mark.parametrize("split", [(), (0, 1, 2), (0, 7), (-1,)])
def test_a_view_needs_columns_that_exist(split: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="first view of 3 columns"):
        CoTraining(split=split).views(3, GENERATOR)


def test_one_column_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match="first view of 1 columns"):
        CoTraining().views(1, GENERATOR)


def test_counts_are_in_the_proportion_of_the_labels(digits_data: Data) -> None:
    assert CoTraining().counts(digits_data).tolist() == [1] * 10
    labels = digits_data.train.labels
    keep = torch.ones(len(labels), dtype=torch.bool)
    keep[(labels == 3).nonzero().squeeze(1)[:2]] = False
    keep[labels == 5] = False
    data = digits_data.with_train(digits_data.train.subset(keep))
    assert CoTraining(per_class=2).counts(data).tolist() == [4, 4, 4, 2, 4, 0, 4, 4, 4, 4]


def test_both_learn_more_than_the_labels_alone_say(
    digits_data: Data, trainer_for: MakeTrainer
) -> None:
    estimator: dict[str, Any] = {"estimator": "naive-bayes"}
    co = right(CoTraining(**estimator, split="random"), digits_data, trainer_for)
    alone = right(SelfTraining(**estimator, max_rounds=0), digits_data, trainer_for)
    tri = right(TriTraining(**estimator), digits_data, trainer_for)
    start = right(TriTraining(**estimator, max_rounds=0), digits_data, trainer_for)
    assert co > alone
    assert tri > start
