from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from leaven.models.estimators import build_estimator
from leaven.propose import tri_training
from leaven.propose.tri_training import tri_train


class Fixed:
    """Says what it is told of each row (its number is the column), and notes what it is fitted to."""

    def __init__(self, said: Tensor, fits: list[tuple[list[int], list[int]]]) -> None:
        self.said, self.fits = said, fits
        self.classes_ = range(3)

    def fit(self, rows: Any, labels: Any) -> Fixed:
        self.fits.append((rows[:, 0].astype(int).tolist(), labels.tolist()))
        return self

    def predict_proba(self, rows: Any) -> Any:
        return one_hot(self.said[rows[:, 0].astype(int)], 3).double().numpy()


def run(said: list[list[int]], labels: list[int], **settings: Any) -> Any:
    """Tri-training with three who say ``said`` (3, n) for ever; the result and the fits of each."""
    fits: list[list[Any]] = [[], [], []]
    result = tri_train(
        lambda number: Fixed(torch.tensor(said[number]), fits[number]),
        torch.arange(len(labels)).float().unsqueeze(1),
        torch.tensor(labels),
        3,
        torch.Generator().manual_seed(0),
        **settings,
    )
    return result, fits


def test_what_two_agree_on_is_a_label_for_the_third() -> None:
    labels = [0, 1, 2, -1, -1, -1, -1]
    said = [
        [0, 1, 2, 0, 1, 2, 0],
        [0, 1, 2, 0, 1, 0, 1],
        [0, 1, 2, 0, 2, 0, 2],
    ]
    result, fits = run(said, labels)
    # 1 and 2 agree on 3 and 5; 0 and 2 on 3 alone, which is not more than l' = 1; 0 and 1 on 3, 4.
    assert result.updates == ((2, 0, 2),)
    assert fits[0][1] == ([0, 1, 2, 3, 5], [0, 1, 2, 0, 0])
    assert len(fits[1]) == 1
    assert fits[2][1] == ([0, 1, 2, 3, 4], [0, 1, 2, 0, 1])


def test_a_majority_decides_and_the_mean_where_there_is_none() -> None:
    labels = [0, 1, 2, -1]
    said = [[0, 1, 2, 0], [0, 1, 1, 1], [0, 1, 2, 2]]
    result, _ = run(said, labels, max_rounds=0)
    third = pytest.approx(1 / 3)
    assert result.votes[2].tolist() == [0, third, pytest.approx(2 / 3)]
    assert result.votes[3].tolist() == [third] * 3
    assert result.updates == ()


def test_who_start_from_bootstraps() -> None:
    labels = [0, 1, 2, 0, 1, 2, -1]
    _, fits = run([[0] * 7] * 3, labels, max_rounds=0)
    drawn = [rows for [(rows, _)] in fits]
    assert all(len(rows) == 6 and set(rows) <= set(range(6)) for rows in drawn)
    assert drawn[0] != drawn[1] != drawn[2]


def test_a_bootstrap_has_two_classes_where_there_are_two() -> None:
    rows, labels = torch.tensor([[0.0], [1.0], [0.1], [0.9]]), torch.tensor([0, 1, -1, -1])
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        make = partial(build_estimator, "logistic-regression")
        trained = tri_train(make, rows, labels, 2, generator)
        assert trained.votes.argmax(1).tolist() == [0, 1, 0, 1]


def test_pairs_that_err_half_the_time_teach_nothing() -> None:
    """e_i = 0.5 is not below e'_i = 0.5."""
    labels = [0, 1, -1, -1, -1, -1]
    result, _ = run([[0, 0, 1, 1, 1, 1]] * 3, labels)
    assert result.updates == ()


def test_a_pair_that_agrees_on_no_label_teaches_nothing() -> None:
    labels = [0, 1, -1, -1, -1]
    result, _ = run([[1, 2, 0, 0, 0], [0, 1, 0, 0, 0], [2, 0, 0, 0, 0]], labels)
    assert result.updates == ()


@pytest.mark.parametrize(
    ("agreed", "error", "error_before", "size_before", "expected"),
    [
        (10, 0.0, 0.5, 1, 10),  # 0 < 0.5
        (1, 0.0, 0.5, 1, 0),  # l' = 1 is not below |L| = 1
        (30, 0.2, 0.5, 1, 2),  # l' = 1 is above 0.2 / 0.3: ceil(0.5 / 0.2 - 1) = 2 by lot
        (30, 0.1, 0.2, 20, 30),  # 3 < 4
        (50, 0.1, 0.2, 20, 39),  # 5 >= 4 and 20 > 1: ceil(4 / 0.1 - 1) = 39 by lot
        (50, 0.19, 0.2, 18, 0),  # 9.5 >= 3.6 and 18 <= 19
    ],
)
def test_lessons_keep_the_noise_falling(
    agreed: int, error: float, error_before: float, size_before: int, expected: int
) -> None:
    rows = torch.arange(agreed) + 100
    generator = torch.Generator().manual_seed(0)
    lesson = tri_training._lesson(rows, error, error_before, size_before, generator)
    assert len(lesson) == expected == len(lesson.unique())
    assert set(lesson.tolist()) <= set(rows.tolist())


@pytest.mark.parametrize(("error", "size"), [(0.0, 1), (0.2, 1), (0.3, 2), (0.46, 12)])
def test_the_first_size_by_hand(error: float, size: int) -> None:
    """floor(e / (0.5 - e) + 1)"""
    assert tri_training._first_size(error, 0.5) == size


def test_the_size_of_the_first_round_stays() -> None:
    """Of estimator 0, l' = floor(0.46 / 0.04 + 1) = 12 at first, and 8 rows are agreed on.

    Estimators 1 and 2 learn and err less then: e = 0.30. With l' set anew, to 2, estimator 0 would
    learn from ceil(0.5 * 2 / 0.3 - 1) = 3 rows.
    """
    known, pool = 50, 8
    truth = torch.zeros(known + pool, dtype=torch.long)
    made = [0, 0, 0]

    def make(number: int) -> Fixed:
        made[number] += 1
        wrong = 0 if number == 0 else 23 if made[number] == 1 else 15
        return Fixed(truth.index_fill(0, torch.arange(wrong), 1), [])

    labels = truth.index_fill(0, known + torch.arange(pool), -1)
    rows = torch.arange(known + pool).float().unsqueeze(1)
    result = tri_train(make, rows, labels, 3, torch.Generator().manual_seed(0))
    assert result.updates == ((0, 8, 8),)
    assert made == [1, 2, 2]


def test_it_learns_and_ends_by_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(150) % 3
    rows = torch.randn(150, 5, generator=generator) + 2 * torch.eye(3, 5)[truth]
    labels = torch.where(torch.arange(150) < 12, truth, -1)
    make = partial(build_estimator, "logistic-regression")
    result = tri_train(make, rows, labels, 3, generator)
    start = tri_train(make, rows, labels, 3, torch.Generator().manual_seed(0), max_rounds=0)
    assert 1 <= len(result.updates) < 20
    right = (result.votes.argmax(1) == truth).double().mean()
    assert float(right) > 0.8
    assert start.updates == ()
