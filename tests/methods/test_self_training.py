from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from sklearn.neighbors import KNeighborsClassifier

from leaven.data import Data
from leaven.errors import ConfigError, DataError
from leaven.labels import ClassLabels
from leaven.learn import mislabelling_matrix
from leaven.methods import Fitted, find_method
from leaven.methods.classification.self_training import PolicyName, SelfTraining, class_wise
from leaven.train import Trainer

MakeTrainer = Callable[..., Trainer]
FOREST: dict[str, Any] = {"estimator_options": {"n_estimators": 20}}
QUICK: dict[str, Any] = {"batch": 16, "ratio": 2, "ema": 0.9}


def labelled(data: Data, trainer_for: MakeTrainer, **settings: Any) -> ClassLabels:
    trainer = trainer_for(data, 1)
    return SelfTraining(**{**FOREST, **settings}).label(trainer.data, trainer)[0]


def right(labels: ClassLabels, data: Data) -> float:
    return float((labels.classes == data.unlabelled.truth).float().mean())


def test_a_run_resumes(
    digits_data: Data, assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    method = SelfTraining(**FOREST, **QUICK, max_rounds=2)
    fitted = assert_resumes(method, digits_data, 9, tmp_path, breaks=(0.5,))
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").open()]
    rounds = [line for line in lines if line.get("phase") == "self-training"]
    assert [line.get("round") for line in rounds] == [0, 1, None]
    assert rounds[0]["trusted"] > 0 and 0.5 < rounds[0]["label_accuracy"] <= 1
    assert "c_bound" in rounds[-1]
    assert right(fitted.labels, digits_data) > 0.6


@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_every_policy_labels(
    digits_data: Data, trainer_for: MakeTrainer, policy: PolicyName
) -> None:
    settings = {"threshold": 0.9} if policy == "entropy" else {"threshold": 0.4}
    labels = labelled(digits_data, trainer_for, policy=policy, max_rounds=2, **settings)
    assert len(labels) == len(digits_data.unlabelled)
    assert labels.probs is not None and labels.probs.shape == (len(labels), 10)
    assert 0 < labels.accepted_share <= 1
    assert right(labels, digits_data) > 0.6
    if policy != "class-wise":
        assert (labels.accepted_share == 1) == (policy == "all")


def test_class_wise_thresholds_follow_the_status_of_a_class() -> None:
    """3 items reach 0.8 in class 0 and 1 in class 1; 1 does not: 0.8 and (1/3) / (5/3) * 0.8."""
    votes = torch.tensor([[0.9, 0.1], [0.85, 0.15], [0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.7, 0.3]])
    assert class_wise(votes, 0.8).tolist() == [1, 1, 1, 1, 1, 0]


def test_a_threshold_per_class_holds_for_its_class(
    digits_data: Data, trainer_for: MakeTrainer
) -> None:
    thresholds = tuple(0.0 if label in (2, 5) else 1.01 for label in range(10))
    first = labelled(digits_data, trainer_for, max_rounds=0)
    labels = labelled(digits_data, trainer_for, policy="fixed", threshold=thresholds, max_rounds=1)
    expected = (first.classes == 2) | (first.classes == 5)
    assert torch.equal(labels.accepted, expected) and bool(expected.any())


def test_as_many_thresholds_as_classes(digits_data: Data, trainer_for: MakeTrainer) -> None:
    with pytest.raises(ConfigError, match="2 thresholds and 10 classes"):
        labelled(digits_data, trainer_for, policy="fixed", threshold=(0.5, 0.5))
    with pytest.raises(ValidationError, match="one threshold"):
        SelfTraining(policy="entropy", threshold=(0.5, 0.5))


def test_without_rounds_it_is_the_estimator_and_nothing_is_accepted(
    digits_data: Data, trainer_for: MakeTrainer
) -> None:
    labels = labelled(digits_data, trainer_for, max_rounds=0)
    assert labels.accepted_share == 0 and right(labels, digits_data) > 0.6


@pytest.mark.parametrize("name", ["logistic-regression", "svm", "naive-bayes"])
def test_estimators_by_name(digits_data: Data, trainer_for: MakeTrainer, name: str) -> None:
    labels = labelled(
        digits_data,
        trainer_for,
        estimator=name,
        estimator_options={},
        policy="mean",
        max_rounds=2,
    )
    assert right(labels, digits_data) > 0.65
    assert 0.3 < labels.accepted_share < 1


def test_an_estimator_from_python_is_a_field_that_can_be_written_down(
    digits_data: Data, trainer_for: MakeTrainer
) -> None:
    given = KNeighborsClassifier(3, weights="distance")
    method = SelfTraining(estimator=given, policy="all", max_rounds=1)
    trainer = trainer_for(digits_data, 1)
    assert right(method.label(trainer.data, trainer)[0], digits_data) > 0.7
    written = method.model_dump(mode="json")["estimator"]
    assert "KNeighborsClassifier" in written
    assert not hasattr(given, "classes_")


def test_votes_are_the_weights_of_labels_and_the_matrix_is_of_the_votes(
    digits_data: Data, trainer_for: MakeTrainer
) -> None:
    method = SelfTraining(**FOREST, policy="all", noise="votes")
    trainer = trainer_for(digits_data, 1)
    labels, _ = method.label(trainer.data, trainer)
    assert 0.2 < float(labels.weight.mean()) < 0.9
    assert method.mislabelling(labels) is None

    matrix = SelfTraining(noise="correction").mislabelling(labels)
    assert matrix is not None and labels.probs is not None
    assert torch.allclose(matrix.sum(0), torch.ones(10))
    said = labels.classes == 3
    expected = labels.probs[said, 4].sum() / labels.probs[:, 4].sum()
    assert float(matrix[3, 4]) == pytest.approx(float(expected), rel=1e-4)
    few = replace(labels, weight=(torch.arange(len(labels)) < 50).float())
    of_few = SelfTraining(noise="correction").mislabelling(few)
    assert torch.equal(of_few, mislabelling_matrix(labels.probs[:50], labels.classes[:50]))
    none = replace(labels, weight=torch.zeros(len(labels)))
    assert torch.equal(SelfTraining(noise="correction").mislabelling(none), torch.eye(10))


def test_the_corrected_run_resumes(
    digits_data: Data, assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    method = SelfTraining(**FOREST, **QUICK, policy="all", noise="correction", restart=True)
    fitted = assert_resumes(method, digits_data, 9, tmp_path, breaks=(0.5,))
    assert fitted.labels.accepted_share == 1


def test_one_class_cannot_be_learnt(digits_data: Data, trainer_for: MakeTrainer) -> None:
    keep = (digits_data.train.labels < 0) | (digits_data.train.labels == 4)
    data = digits_data.with_train(digits_data.train.subset(keep))
    with pytest.raises(DataError, match="are: 4"):
        labelled(data, trainer_for)


def test_it_is_found_by_name_and_set_by_name() -> None:
    method = find_method("self-training").configured({"policy": "mean", "estimator": "knn"})
    assert isinstance(method, SelfTraining) and method.policy == "mean"
    with pytest.raises(ConfigError, match="policy"):
        SelfTraining.configured({"policy": "best"})
