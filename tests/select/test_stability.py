"""How steady predictions are."""

from __future__ import annotations

import torch

from leaven.select import prediction_stability


def test_one_moment_by_hand() -> None:
    last = torch.tensor([[[0, 0, 1, 1]]])
    before = torch.tensor([[[[0, 1, 1, 2]]]])
    # Class 0: 1 of 2, class 1: 1 of 3, class 2: 0 of 1.
    found = prediction_stability(before, last, 4)
    assert torch.allclose(found, torch.tensor([(1 / 2 + 1 / 3 + 0) / 3]).double())


def test_pixels_without_a_class_count_nowhere() -> None:
    last, before = torch.randint(0, 4, (2, 5, 6)), torch.randint(0, 4, (3, 2, 5, 6))
    expected = prediction_stability(before[..., :4], last[..., :4], 4)
    last[..., 4:] = -1
    assert torch.equal(prediction_stability(before, last, 4), expected)


def test_nothing_has_changed() -> None:
    last = torch.randint(0, 5, (3, 6, 7))
    assert torch.equal(
        prediction_stability(last.expand(2, 3, 6, 7), last, 5), torch.ones(3).double()
    )


def test_a_slow_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    last = torch.randint(0, 4, (3, 5, 6), generator=generator)
    earlier = torch.randint(0, 4, (2, 3, 5, 6), generator=generator)
    expected = []
    for picture in range(3):
        means = []
        for moment in range(2):
            a, z = earlier[moment, picture], last[picture]
            ious = [
                ((a == k) & (z == k)).sum() / ((a == k) | (z == k)).sum()
                for k in range(4)
                if bool(((a == k) | (z == k)).any())
            ]
            means.append(torch.stack(ious).mean())
        expected.append(torch.stack(means).mean())
    found = prediction_stability(earlier, last, 4)
    assert torch.allclose(found, torch.stack(expected).double())
