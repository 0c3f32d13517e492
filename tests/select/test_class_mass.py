"""Thresholds and weights by how much of each class passes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leaven.select import ClassMass


def of(masses: list[float], **options: float) -> ClassMass:
    mass = ClassMass(len(masses), **options)
    mass.mass.copy_(torch.tensor(masses))
    return mass


def test_equal_masses_give_one_threshold_and_no_weight() -> None:
    for mass in (ClassMass(3), of([5.0, 5.0, 5.0])):
        assert mass.thresholds.tolist() == pytest.approx([0.7] * 3)
        assert mass.weights.tolist() == [1, 1, 1]


def test_no_powers_give_one_threshold_and_no_weight() -> None:
    mass = of([100.0, 1.0, 0.0], bend=0.0, power=0.0)
    assert mass.thresholds.tolist() == pytest.approx([0.7] * 3)
    assert mass.weights.tolist() == [1, 1, 1]


def test_values() -> None:
    mass = of([100.0, 50.0, 10.0])
    assert mass.thresholds.tolist() == pytest.approx([0.7, 0.7 * 0.5**0.05, 0.7 * 0.1**0.05])
    assert mass.weights.tolist() == pytest.approx([1.0, 2**0.6, 10**0.6])
    assert of([1.0, 1e-2], highest=4.0).weights.tolist() == [1, 4]


def test_order_and_bounds() -> None:
    mass = of(torch.linspace(0.01, 40, 50).tolist())
    thresholds, weights = mass.thresholds, mass.weights
    assert (thresholds.diff() > 0).all() and (thresholds <= 0.7 + 1e-6).all()
    assert (weights.diff() <= 0).all() and (weights >= 1).all() and (weights <= 10).all()
    assert (weights[weights < 10].diff() < 0).all()


def test_only_ratios_count() -> None:
    small, large = of([3.0, 2.0, 1.0]), of([3e6, 2e6, 1e6])
    assert torch.allclose(small.thresholds, large.thresholds)
    assert torch.allclose(small.weights, large.weights)


def test_a_class_without_mass() -> None:
    mass = of([20.0, 0.0])
    assert mass.thresholds[1] == pytest.approx(0.7 * 1e-3**0.05)
    assert mass.weights[1] == 10
    nothing = of([0.0, 0.0])
    assert bool(nothing.thresholds.isfinite().all()) and bool(nothing.weights.isfinite().all())


def noted(mass: ClassMass, certainty: Tensor, classes: Tensor) -> Tensor:
    mass.note(certainty, classes)
    mass.settle()
    return mass.mass


def test_running_mean() -> None:
    certainty, classes = torch.tensor([0.5, 0.25, 1.0]), torch.tensor([0, 0, 2])
    found = noted(ClassMass(3, momentum=0.75), certainty, classes)
    assert found.tolist() == pytest.approx([0.75 + 0.25 * 0.75, 0.75, 0.75 + 0.25])
    order = torch.tensor([2, 0, 1])
    again = noted(ClassMass(3, momentum=0.75), certainty[order], classes[order])
    assert torch.equal(again, found)


def test_a_batch_does_not_move_its_own_thresholds() -> None:
    mass = ClassMass(2, momentum=0.5)
    before = mass.thresholds.clone()
    mass.note(torch.ones(5), torch.zeros(5, dtype=torch.int64))
    assert torch.equal(mass.thresholds, before)
    mass.settle()
    assert mass.thresholds[1] < before[1]
    assert mass.noted.tolist() == [0, 0]
    kept = ClassMass(2)
    kept.load_state_dict(mass.state_dict())
    assert torch.equal(kept.thresholds, mass.thresholds)


def test_nothing_passed() -> None:
    found = noted(ClassMass(2), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert found.tolist() == pytest.approx([0.999, 0.999])


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 1.5}, {"momentum": 1.0}, {"floor": 0.0}, {"bend": -1.0}, {"highest": 0.5}],
)
def test_numbers_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="threshold|bend"):
        ClassMass(2, **wrong)
