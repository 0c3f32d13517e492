from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from leaven.errors import ConfigError
from leaven.models.estimators import (
    ESTIMATORS,
    build_estimator,
    estimator_votes,
    fit_estimator,
)


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 2, 3]).repeat(10)
    return torch.randn(30, 5, generator=generator) + torch.eye(4, 5)[labels], labels


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_votes_have_a_column_per_class_and_sum_to_1(name: str) -> None:
    rows, labels = data()
    options = {"n_estimators": 10} if name in ("random-forest", "extra-trees") else {}
    fitted = fit_estimator(build_estimator(name, 0, options), rows, labels, torch.ones(30))
    votes = estimator_votes(fitted, rows, 4)
    assert votes.shape == (30, 4) and votes.dtype == torch.float64
    assert torch.allclose(votes.sum(1), torch.ones(30).double())
    assert votes[:, 1].tolist() == [0] * 30
    assert float((votes.argmax(1) == labels).double().mean()) > 0.6
    assert estimator_votes(fitted, rows[:0], 4).shape == (0, 4)


def test_of_fewer_rows_than_neighbours_all_are_neighbours() -> None:
    rows, labels = data()
    fitted = fit_estimator(build_estimator("knn", 0), rows[:3], labels[:3], torch.ones(3))
    assert torch.allclose(
        estimator_votes(fitted, rows, 4)[:, labels[:3]].double(), torch.tensor(1 / 3).double()
    )
    many = fit_estimator(build_estimator("knn", 0), rows, labels, torch.ones(30))
    assert many.n_neighbors == 5


def test_a_score_becomes_votes() -> None:
    rows, labels = data()
    fitted = fit_estimator(build_estimator(RidgeClassifier(), 0), rows, labels, torch.ones(30))
    scores = torch.from_numpy(fitted.decision_function(rows.numpy())).double()
    assert torch.allclose(estimator_votes(fitted, rows, 4)[:, [0, 2, 3]], scores.softmax(1))
    two = labels != 3
    fitted = fit_estimator(
        build_estimator(RidgeClassifier(), 0), rows[two], labels[two], torch.ones(20)
    )
    score = torch.from_numpy(fitted.decision_function(rows.numpy())).double()
    assert torch.allclose(estimator_votes(fitted, rows, 4)[:, 2], score.sigmoid())


def test_a_common_factor_of_the_weights_changes_nothing() -> None:
    rows, labels = data()
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(30, generator=generator) + 0.1
    one, other, plain = (
        fit_estimator(build_estimator("logistic-regression", 0), rows, labels, w).coef_
        for w in (weight, weight * 1e-3, torch.ones(30))
    )
    assert np.allclose(one, other, atol=1e-5)
    assert not np.allclose(one, plain, atol=1e-2)


def test_a_pipeline_hands_the_weights_to_its_last_step() -> None:
    rows, labels = data()
    weight = torch.linspace(0.1, 2, 30)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    fitted = fit_estimator(build_estimator(pipeline, 0), rows, labels, weight)
    scaled = StandardScaler().fit_transform(rows.numpy())
    by_hand = LogisticRegression().fit(scaled, labels.numpy(), (weight / weight.mean()).numpy())
    assert np.allclose(fitted[-1].coef_, by_hand.coef_, atol=1e-4)


def test_the_seed_is_set_where_none_is_and_the_given_object_is_left_alone() -> None:
    given = LogisticRegression(C=2.0)
    built = build_estimator(given, 7)
    assert built is not given and built.C == 2 and built.random_state == 7
    assert given.random_state is None
    assert build_estimator(LogisticRegression(random_state=3), 7).random_state == 3


def test_options_are_set_by_name() -> None:
    assert build_estimator("knn", 0, {"n_neighbors": 3}).n_neighbors == 3


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [("forest", {}, "no estimator 'forest'"), ("knn", {"k": 3}, "KNeighbors"), (3, {}, "no estim")],
)
def test_what_is_no_estimator_is_refused(kind: object, options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_estimator(kind, 0, options)
