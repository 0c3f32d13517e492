"""The optimum of logistic regression, against scikit-learn and where nothing is to be learnt."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from leaven.models import logistic_weights


def some_rows(count: int = 40, width: int = 5, classes: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    rows = torch.randn(count, width, generator=generator) + 0.7 * F.one_hot(labels, width)
    return rows, labels


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_it_is_the_optimum_of_scikit_learn(strength: float) -> None:
    """There the sum of the losses and half the squares are weighed by C."""
    rows, labels = some_rows()
    peer = LogisticRegression(C=1 / strength, fit_intercept=False, max_iter=10_000, tol=1e-10)
    expected = torch.from_numpy(peer.fit(rows.numpy(), labels.numpy()).coef_)
    found = logistic_weights(rows, labels, 3, strength)
    torch.testing.assert_close(found, expected.float(), atol=2e-4, rtol=1e-3)


def test_the_gradient_vanishes_at_the_optimum() -> None:
    rows, labels = some_rows()
    found = logistic_weights(rows, labels, 3, 0.1).double()
    doubt = (rows.double() @ found.T).softmax(1) - F.one_hot(labels, 3)
    gradient = doubt.T @ rows.double() / len(rows) + 0.1 / len(rows) * found
    assert gradient.abs().max() < 1e-6


def test_two_classes_and_classes_without_rows() -> None:
    rows, labels = some_rows(classes=2)
    two = logistic_weights(rows, labels, 2, 1.0)
    torch.testing.assert_close(two[0], -two[1])
    three = logistic_weights(rows, labels, 3, 1.0)
    assert three.isfinite().all()
    assert not bool(((rows @ three.T).argmax(1) == 2).any())


def test_rows_of_zeros_teach_nothing() -> None:
    found = logistic_weights(torch.zeros(4, 3), torch.tensor([0, 1, 1, 2]), 3, 0.5)
    assert torch.equal(found, torch.zeros(3, 3))


def test_more_rows_of_the_same_kind_weigh_more_against_the_penalty() -> None:
    """Rows n times over are the same as a penalty n times as weak."""
    rows, labels = some_rows()
    more = logistic_weights(rows.repeat(4, 1), labels.repeat(4), 3, 1.0)
    torch.testing.assert_close(more, logistic_weights(rows, labels, 3, 0.25), atol=1e-5, rtol=1e-4)


def test_gradients_may_be_off() -> None:
    rows, labels = some_rows()
    with torch.no_grad():
        found = logistic_weights(rows, labels, 3, 1.0)
    assert bool(found.any()) and not found.requires_grad
