"""What is told of the evidence: closed forms, and made-up mixtures of known shares."""

from __future__ import annotations

import pytest
import torch

from leaven.quality.evidence import foreign_share, imbalance, label_noise


def test_imbalance_is_the_ratio_of_the_extremes() -> None:
    assert imbalance(torch.tensor([0, 0, 0, 0, 1, 1, -1]), 2) == 2
    assert imbalance(torch.tensor([0, 0, 0, -1]), 2) == 3
    assert imbalance(torch.tensor([-1]), 2) == 0


def test_noise_is_the_disagreement_of_the_surest_items() -> None:
    """Ten items predicted as each class; of the surest half one in five disagrees."""
    confidence = torch.linspace(0.9, 0.6, 10)
    probs = torch.cat(
        [torch.stack([confidence, 1 - confidence], 1), torch.stack([1 - confidence, confidence], 1)]
    )
    labels = torch.tensor([0, 1, 0, 0, 0, *[1] * 5, 1, 1, 1, 0, 1, *[0] * 5])
    noise, error = label_noise(probs, labels, share=0.5)
    assert noise == pytest.approx(0.2)
    assert error == pytest.approx((2 * 0.2 / 5) ** 0.5 / 2)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4])
def test_noise_of_an_easy_task_is_found_and_a_hard_task_is_not_called_noisy(rate: float) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(4, (4000,), generator=generator)
    # Half of the items are hard: the model guesses there, and says so.
    sure = torch.rand(4000, generator=generator) < 0.5
    guess = torch.where(sure, truth, torch.randint(4, (4000,), generator=generator))
    probs = torch.full((4000, 4), 0.1)
    probs[torch.arange(4000), guess] = torch.where(sure, 0.9, 0.4)
    probs = probs / probs.sum(1, keepdim=True)
    wrong = torch.rand(4000, generator=generator) < rate
    labels = torch.where(wrong, (truth + 1) % 4, truth)
    noise, error = label_noise(probs, labels)
    assert noise == pytest.approx(rate, abs=0.05)
    assert error < 0.05


def test_too_few_items_say_nothing() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    assert label_noise(probs, torch.tensor([0, 1])) == (0.0, 1.0)
    assert foreign_share(torch.empty(0), torch.rand(5)) == 0
    assert foreign_share(torch.tensor([0.5]), torch.tensor([0.1, 0.2])) == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_the_foreign_share_is_found_where_foreign_items_score_less(share: float) -> None:
    generator = torch.Generator().manual_seed(1)
    known = 0.7 + 0.3 * torch.rand(2000, generator=generator)
    count = 5000
    foreign = torch.rand(count, generator=generator) < share
    inside = 0.7 + 0.3 * torch.rand(count, generator=generator)
    mixed = torch.where(foreign, 0.25 * torch.rand(count, generator=generator), inside)
    assert foreign_share(known, mixed) == pytest.approx(float(foreign.float().mean()), abs=0.02)


def test_scores_that_say_nothing_are_left_out() -> None:
    known, mixed = torch.linspace(0.2, 1, 100), torch.linspace(0, 1, 100)
    found = foreign_share(known, mixed, fraction=0.5)
    usual = 0.1 / 0.8  # below half of the median, 0.3
    assert found == pytest.approx((0.3 - usual) / (1 - usual), abs=0.02)
    with_nothing = torch.cat([known, torch.full((50,), float("nan"))])
    assert foreign_share(with_nothing, mixed, fraction=0.5) == found


def test_equal_scores_have_no_foreign_part() -> None:
    assert foreign_share(torch.ones(100), torch.ones(100)) == 0
