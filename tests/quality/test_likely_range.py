"""Between which limits an accuracy lies that a few held-out pictures tell."""

import math

import pytest
import torch
from scipy.stats import t as student

from leaven.quality import ConfidenceBins
from leaven.quality.accuracy import likely_range


def of_items(right: int, count: int):
    hit = (torch.arange(count) < right).long()[:, None]
    return likely_range(torch.ones(count, 1), hit, torch.tensor([7]))


@pytest.mark.parametrize(("right", "count"), [(0, 1), (3, 3), (45, 50), (970, 1000)])
def test_of_single_predictions_it_is_the_interval_of_agresti_and_coull(right, count):
    found = of_items(right, count)
    z = float(student.ppf(0.975, count + 3))
    p = (right + z**2 / 2) / (count + z**2)
    reach = z * math.sqrt(p * (1 - p) / (count + z**2))
    assert found.low == pytest.approx(max(0, p - reach))
    assert found.high == pytest.approx(min(1, p + reach))
    assert found.pictures == pytest.approx(count)


def test_predictions_of_one_picture_are_right_or_wrong_together():
    whole = torch.tensor([[1000], [1000], [1000], [0]])
    many = likely_range(torch.full((4, 1), 1000), whole, torch.tensor([1]))
    items = of_items(3, 4)
    assert many.pictures == pytest.approx(4) and many.high - many.low > 0.5
    assert items.low < many.low and many.high < items.high + 0.02
    # Without any wrong one, few pictures do not tell how much they differ.
    three, thirty = (
        likely_range(torch.full((n, 1), 1000), torch.full((n, 1), 1000), torch.tensor([1]))
        for n in (3, 30)
    )
    assert of_items(3, 3).low < three.low < 0.85 < 0.98 < thirty.low
    # A picture with nearly all predictions counts for nearly all.
    uneven = torch.tensor([[1000], [1], [1]])
    found = likely_range(uneven, uneven, torch.tensor([1]))
    assert 1 < found.pictures < 1.01 and found.low < three.low
    one = likely_range(torch.tensor([[50]]), torch.tensor([[40]]), torch.tensor([1]))
    assert one.low < 0.5 and one.high > 0.9


def test_pictures_that_are_alike_tell_more_than_pictures_that_are_not():
    counted = torch.full((40, 1), 100)
    alike = likely_range(counted, torch.full((40, 1), 90), torch.tensor([1]))
    apart = torch.tensor([100, 100, 100, 100, 100, 100, 100, 100, 100, 0])[:, None].repeat(4, 1)
    unlike = likely_range(counted, apart, torch.tensor([1]))
    assert alike.low > unlike.low and alike.high - alike.low < 0.04
    assert unlike.high - unlike.low > 0.15


def test_only_bins_that_are_asked_of_count():
    counted = torch.tensor([[9, 1], [9, 1], [9, 0]])
    right = torch.tensor([[0, 1], [0, 1], [0, 0]])
    sure = likely_range(counted, right, torch.tensor([0, 5]))
    assert sure.pictures == pytest.approx(2) and sure.high == 1
    unsure = likely_range(counted, right, torch.tensor([5, 0]))
    assert unsure.pictures == pytest.approx(3) and unsure.low == 0 and unsure.high < sure.high
    # What is asked of an empty bin goes to the nearest one that is not.
    empty = torch.cat([counted, torch.zeros(3, 2)], 1)
    moved = likely_range(
        empty, torch.cat([right, torch.zeros(3, 2)], 1), torch.tensor([0, 0, 0, 5])
    )
    assert moved == sure


def test_what_is_asked_of_may_be_few_as_well():
    counted = torch.ones(60, 1)
    right = (torch.arange(60) < 54).long()[:, None]
    whole = likely_range(counted, right, torch.tensor([20]))
    few = likely_range(counted, right, torch.tensor([20]), 20)
    z = float(student.ppf(0.975, 63))
    n = 1 / (1 / 60 + 1 / 20)
    p = (n * 0.9 + z**2 / 2) / (n + z**2)
    assert few.low == pytest.approx(p - z * math.sqrt(p * (1 - p) / (n + z**2)))
    assert few.low < whole.low


def test_nothing_counted_or_asked_of_has_no_range():
    assert likely_range(torch.zeros(0, 4), torch.zeros(0, 4), torch.ones(4)) is None
    assert likely_range(torch.zeros(2, 4), torch.zeros(2, 4), torch.ones(4)) is None
    assert likely_range(torch.ones(2, 4), torch.ones(2, 4), torch.zeros(4)) is None
    with pytest.raises(ValueError, match="asked"):
        likely_range(torch.ones(2, 4), torch.ones(2, 4), torch.ones(3))


def test_it_is_widened_to_hold_another_estimate():
    found = of_items(45, 50)
    assert found.around(0.9) == found
    assert found.around(0.2).low == 0.2 and found.around(1.0).high == 1.0


@pytest.mark.parametrize("pictures", [8, 30, 200])
def test_it_holds_the_truth_nineteen_times_of_twenty(pictures):
    generator = torch.Generator().manual_seed(pictures)
    held, drawn = 0, 400
    for _ in range(drawn):
        # Each picture has an accuracy of its own, 0.9 in the mean, and pixels of two bins.
        own = (1 - torch.rand(pictures, 1, generator=generator) ** 2 * 0.3).repeat(1, 2)
        counted = torch.randint(0, 50, (pictures, 2), generator=generator)
        right = torch.binomial(counted.float(), own, generator=generator)
        found = likely_range(counted, right, torch.tensor([3, 1]))
        held += found.low <= 0.9 <= found.high
    assert held / drawn > 0.93


def test_bins_count_by_picture():
    confidence = torch.tensor([0.95, 0.96, 0.3, 0.97, 0.2])
    right = torch.tensor([True, True, False, True, False])
    picture = torch.tensor([0, 0, 0, 2, 2])
    bins = ConfidenceBins(10)
    bins.add(confidence, right, picture=picture)
    bins.add(torch.tensor([0.95, 0.5]), torch.tensor([False, True]), torch.tensor([True, False]))
    asked = bins.histogram(torch.tensor([[0.91, 0.99], [0.93, 1.0]]))
    assert asked.tolist() == [0] * 9 + [4]
    found = bins.likely(asked)
    counted = torch.tensor([[2], [1], [1]])
    assert found == likely_range(counted, torch.tensor([[2], [1], [0]]), torch.tensor([4]))
    # A map is a picture.
    maps = ConfidenceBins(10)
    maps.add(torch.full((2, 4, 4), 0.95), torch.ones(2, 4, 4, dtype=torch.bool))
    assert maps.likely(asked).pictures == pytest.approx(2)
    assert ConfidenceBins(10).likely(asked) is None
