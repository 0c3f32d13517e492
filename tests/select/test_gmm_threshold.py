"""Thresholds by two Gaussians, and as many boxes as scores promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from leaven.select import MixtureThresholds, two_gaussians_threshold, within_score_mass


def two_groups(seed: int = 0, low: int = 50, high: int = 40) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    groups = [0.1 + 0.02 * torch.randn(low, generator=draw)]
    groups.append(0.8 + 0.02 * torch.randn(high, generator=draw))
    return torch.cat(groups).clamp(0.01, 1.0).double()


def of_sklearn(scores: np.ndarray) -> float:
    column = scores[:, None]
    mixture = GaussianMixture(
        2,
        weights_init=[0.5, 0.5],
        means_init=[[column.min()], [column.max()]],
        precisions_init=[[[1.0]], [[1.0]]],
    ).fit(column)
    high = mixture.predict(column) == 1
    if not high.any():
        return 0.0
    likelihood = np.where(high, mixture.score_samples(column), -np.inf)
    return float(scores[likelihood.argmax()])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_it_is_the_mixture_of_sklearn() -> None:
    draw = torch.Generator().manual_seed(3)
    rows = [two_groups(1), two_groups(2, 5, 80)]
    rows += [torch.rand(int(n), generator=draw).double() * 0.9 + 0.05 for n in (4, 9, 40, 100)]
    rows.append(torch.rand(70, generator=draw).double() ** 4 * 0.9 + 0.05)
    scores, counted = torch.zeros(len(rows), 100).double(), torch.zeros(len(rows), 100).bool()
    for number, row in enumerate(rows):
        scores[number, : len(row)], counted[number, : len(row)] = row, True
    found = two_gaussians_threshold(scores, counted)
    assert np.allclose(found.numpy(), [of_sklearn(row.numpy()) for row in rows], atol=1e-9)


def test_two_separate_groups() -> None:
    scores = two_groups()
    threshold = two_gaussians_threshold(scores[None], scores[None] > 0)
    assert 0.75 <= float(threshold) <= 0.85
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(1))
    again = two_gaussians_threshold(scores[None, order], scores[None] > 0)
    assert torch.equal(again, threshold)


def test_too_few_scores_and_one_score_all_over() -> None:
    three = torch.tensor([[0.1, 0.5, 0.9, 0.0]])
    assert two_gaussians_threshold(three, three > 0).tolist() == [0.0]
    assert two_gaussians_threshold(three, three > 0, unknown=0.25).tolist() == [0.25]
    none = torch.zeros(2, 5)
    assert two_gaussians_threshold(none, none > 0).tolist() == [0.0, 0.0]
    # Two equal components: no score is likelier in the second.
    same = torch.full((1, 8), 0.6)
    assert two_gaussians_threshold(same, same > 0).tolist() == [0.0]


def test_queues_hold_the_newest_first() -> None:
    part = MixtureThresholds(2, length=4)
    part.push(torch.tensor([0.5, 0.25, 0.75]), torch.tensor([0, 1, 0]))
    assert part.queue.tolist() == [[0.5, 0.75, 0, 0], [0.25, 0, 0, 0]]
    part.push(torch.tensor([0.125, 0.0625, 0.375]), torch.tensor([0, -1, 0]))
    assert part.queue.tolist() == [[0.125, 0.375, 0.5, 0.75], [0.25, 0, 0, 0]]
    part.push(torch.arange(1, 7) / 8, torch.ones(6, dtype=torch.int64))
    assert part.queue[1].tolist() == [0.125, 0.25, 0.375, 0.5]
    part.push(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert part.queue[0].tolist() == [0.125, 0.375, 0.5, 0.75]


def test_classes_have_thresholds_of_their_own() -> None:
    part = MixtureThresholds(3)
    scores = two_groups().float()
    part.push(scores, torch.zeros(len(scores), dtype=torch.int64))
    part.push(scores / 2, torch.ones(len(scores), dtype=torch.int64))
    first, second, third = part.thresholds().tolist()
    assert first == pytest.approx(0.8, abs=0.05) and second == pytest.approx(0.4, abs=0.05)
    assert third == 0 and part.thresholds(unknown=0.5)[2] == 0.5
    other = MixtureThresholds(3)
    other.load_state_dict(part.state_dict())
    assert torch.equal(other.thresholds(), part.thresholds())


@pytest.mark.parametrize(("classes", "length"), [(0, 10), (3, 0)])
def test_no_class_or_no_place(classes: int, length: int) -> None:
    with pytest.raises(ValueError, match="queues of"):
        MixtureThresholds(classes, length)


def test_as_many_boxes_as_the_scores_promise() -> None:
    scores = torch.tensor([0.9, 0.1, 0.8, 0.3, 0.2, 0.05, 0.06])
    pictures = torch.tensor([0, 0, 0, 0, 2, 2, 2])
    # Picture 0: 2.1 promised, the three best. Picture 2: 0.31 promised, the best one.
    kept = within_score_mass(scores, pictures, 4)
    assert kept.tolist() == [True, False, True, True, True, False, False]


def test_level_scores_stay_together_and_all_may_stay() -> None:
    level = within_score_mass(torch.full((6,), 0.2), torch.zeros(6, dtype=torch.int64), 1)
    assert level.all()
    certain = within_score_mass(torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64), 1)
    assert certain.all()
    assert len(within_score_mass(torch.zeros(0), torch.zeros(0, dtype=torch.int64), 3)) == 0


def test_score_mass_picture_by_picture() -> None:
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 5, (60,), generator=draw)
    scores = torch.rand(60, generator=draw)
    kept = within_score_mass(scores, pictures, 5)
    for picture in range(5):
        own = scores[pictures == picture].sort(descending=True).values
        last = own[min(int(own.sum() + 0.5), len(own) - 1)]
        assert torch.equal(kept[pictures == picture], scores[pictures == picture] > last - 1e-5)
