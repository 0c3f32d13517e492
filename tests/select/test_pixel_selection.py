"""Trust in pixels: the spectral split, the limit near the best of a class, the moving threshold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leaven.select import (
    MovingThreshold,
    near_best_of_class,
    residual_variance,
    spectral_groups,
    spectral_weight,
)


def some_probs(seed: int, *shape: int, sharpness: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * sharpness).softmax(1)


def everywhere(probs: Tensor) -> Tensor:
    return torch.ones(len(probs), *probs.shape[2:], dtype=torch.bool)


# -- confidence and what is beside it --------------------------------------------------------------


def test_residual_variance_is_that_of_the_rest_and_its_squared_mean() -> None:
    probs = some_probs(0, 2, 5, 4, 6)
    confidence, residual = residual_variance(probs)
    for index in range(4 * 6):
        column = probs[1].flatten(1)[:, index].double()
        best = int(column.argmax())
        rest = torch.cat([column[:best], column[best + 1 :]])
        expected = rest.var(correction=0) + rest.mean() ** 2 / 4
        assert confidence[1].flatten()[index] == column[best].float()
        torch.testing.assert_close(residual[1].flatten()[index].double(), expected)


def test_an_even_rest_has_no_variance_but_its_mean() -> None:
    probs = torch.tensor([0.7, 0.1, 0.1, 0.1]).view(1, 4, 1, 1)
    assert float(residual_variance(probs)[1]) == pytest.approx(0.1**2 / 3)


def test_the_order_of_the_other_classes_does_not_matter() -> None:
    probs = some_probs(1, 2, 5, 8, 8)
    best = probs.argmax(1, keepdim=True)
    turned = probs.gather(1, (best + torch.tensor([0, 4, 2, 1, 3])[None, :, None, None]) % 5)
    straight = probs.gather(1, (best + torch.arange(5)[None, :, None, None]) % 5)
    for one, other in zip(residual_variance(turned), residual_variance(straight), strict=True):
        torch.testing.assert_close(one, other)
    valid = everywhere(probs)
    torch.testing.assert_close(spectral_weight(turned, valid), spectral_weight(straight, valid))


# -- the split -------------------------------------------------------------------------------------


def groups_by_svd(rows: Tensor) -> Tensor:
    _, values, right = torch.linalg.svd(rows.double().T, full_matrices=False)
    assert values[0] >= values[1]
    return right.abs().argmax(0) == 1


def test_the_groups_are_those_of_the_singular_vectors() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.rand(6, 500, 2, generator=generator) * torch.tensor([1.0, 0.2])
    valid = torch.rand(6, 500, generator=generator) < 0.8
    found = spectral_groups(features, valid)
    for own, rows, shown in zip(found, features, valid, strict=True):
        assert torch.equal(own[shown], groups_by_svd(rows[shown]))
        assert not own[~shown].any()
    assert 0.05 < found.float().mean() < 0.95
    # The turned axes are the same directions: the signs of singular vectors say nothing.
    assert torch.equal(spectral_groups(-features, valid), found)


def test_one_direction_or_no_pixel_gives_one_group() -> None:
    line = torch.linspace(0.1, 1, 50)[None, :, None] * torch.tensor([1.0, 0.5])
    assert not spectral_groups(line, torch.ones(1, 50, dtype=torch.bool)).any()
    assert not spectral_groups(line * 0, torch.ones(1, 50, dtype=torch.bool)).any()
    assert not spectral_groups(line, torch.zeros(1, 50, dtype=torch.bool)).any()


def test_pixels_with_a_strong_rival_leave_the_reliable_group() -> None:
    generator = torch.Generator().manual_seed(3)
    confidence = 0.9 + 0.1 * torch.rand(3000, generator=generator)
    rest = ((1 - confidence) / 10)[:, None].expand(-1, 10)
    good = torch.cat([confidence[:, None], rest], 1)
    rival = 0.25 + 0.22 * torch.rand(1000, generator=generator)
    bad = torch.cat([(0.98 - rival)[:, None], rival[:, None], torch.full((1000, 9), 0.02 / 9)], 1)
    probs = torch.cat([good, bad]).T[None, :, :, None]
    features = torch.stack(residual_variance(probs), 3).flatten(1, 2)
    low = spectral_groups(features, torch.ones(1, 4000, dtype=torch.bool))[0]
    assert not low[:3000].any()
    assert low[3000:].float().mean() > 0.5
    weight = spectral_weight(probs, everywhere(probs))[0, :, 0]
    assert weight[3000:].mean() < weight[:3000].mean()


# -- the weight ------------------------------------------------------------------------------------


def slow_weight(probs: Tensor, valid: Tensor, spread: float) -> Tensor:
    confidence, residual = residual_variance(probs)
    weight = torch.zeros_like(confidence)
    for number in range(len(probs)):
        shown = valid[number]
        rows = torch.stack([confidence[number][shown], residual[number][shown]], 1).double()
        second = groups_by_svd(rows)
        groups = [group for group in (rows[~second], rows[second]) if len(group)]
        chosen = max(groups, key=lambda group: float(group[:, 0].mean()))
        mean, variance = chosen.mean(0), chosen.var(0)
        score = (rows - mean) / (variance + 1e-8).sqrt() * torch.tensor([1.0, -1.0])
        bell = (-(score**2).sum(1) / spread).exp()
        weight[number][shown] = torch.where((score > 0).any(1), 1.0, bell).float()
    return weight


def test_the_weight_is_the_formula_picture_by_picture() -> None:
    probs = some_probs(4, 3, 6, 12, 16)
    valid = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(5)) < 0.7
    for spread in (2.0, 8.0):
        found = spectral_weight(probs, valid, spread)
        torch.testing.assert_close(found, slow_weight(probs, valid, spread), rtol=1e-4, atol=1e-5)
        assert (found[~valid] == 0).all() and found.min() >= 0 and found.max() == 1
        # Some are below the centre in both ways, and are kept with less weight.
        assert ((found > 0) & (found < 1)).any()
    alone = spectral_weight(probs[1:2], valid[1:2])
    torch.testing.assert_close(alone[0], spectral_weight(probs, valid)[1])


def test_the_weight_falls_with_confidence_and_with_a_rival() -> None:
    probs = some_probs(6, 1, 6, 24, 24)
    valid = everywhere(probs)
    confidence, residual = (values.flatten() for values in residual_variance(probs))
    weight = spectral_weight(probs, valid).flatten()
    below = weight < 1
    better = (confidence[:, None] >= confidence) & (residual[:, None] <= residual)
    ordered = better & below[:, None] & below[None]
    assert ordered.sum() > below.sum()
    assert (weight[:, None] - weight >= -1e-6)[ordered].all()


def test_tiling_a_picture_keeps_its_weights() -> None:
    probs = some_probs(7, 1, 4, 10, 10)
    once = spectral_weight(probs, everywhere(probs))
    twice = torch.cat([probs, probs], 3)
    found = spectral_weight(twice, everywhere(twice))
    # The unbiased variance of twice as many is smaller by a hundredth.
    torch.testing.assert_close(found[..., :10], once, rtol=0.05, atol=0.02)
    assert torch.equal(found[..., :10] == 1, once == 1)


def test_degenerate_pictures_have_finite_weights() -> None:
    nothing = torch.zeros(1, 4, 4, dtype=torch.bool)
    one = nothing.clone()
    one[0, 1, 2] = True
    sure = torch.zeros(1, 3, 4, 4)
    sure[:, 0] = 1
    flat = torch.full((1, 3, 4, 4), 1 / 3)
    for probs in (sure, flat, some_probs(8, 1, 3, 4, 4)):
        assert (spectral_weight(probs, nothing) == 0).all()
        for valid in (one, everywhere(probs)):
            weight = spectral_weight(probs, valid)
            assert weight.isfinite().all() and (weight[~valid] == 0).all()
            assert weight[valid].max() > 0.9
    with pytest.raises(ValueError, match="spread"):
        spectral_weight(flat, nothing, 0.0)


# -- near the best of a class ----------------------------------------------------------------------


def test_a_class_keeps_its_best_pixels_or_none() -> None:
    probs = torch.tensor(
        [[0.99, 0.96, 0.95, 0.02, 0.07, 0.1], [0.01, 0.04, 0.05, 0.98, 0.93, 0.9]]
    ).view(1, 2, 1, 6)
    # The limits are 0.9504 and 0.9408.
    assert near_best_of_class(probs, everywhere(probs)).tolist() == [[[1, 1, 0, 1, 0, 0]]]
    weaker = probs.clone()
    weaker[0, :, 0, 3] = torch.tensor([0.08, 0.92])
    weaker[0, :, 0, 4] = torch.tensor([0.09, 0.91])
    # The best pixel of the second class does not pass 0.92, and is itself not above itself.
    assert near_best_of_class(weaker, everywhere(weaker)).tolist() == [[[1, 1, 0, 0, 0, 0]]]


def test_a_class_at_certainty_is_cut_at_its_share() -> None:
    probs = torch.tensor([[1.0, 0.961, 0.96], [0.0, 0.039, 0.04]]).view(1, 2, 1, 3)
    assert near_best_of_class(probs, everywhere(probs)).tolist() == [[[1, 1, 0]]]


def test_every_class_that_passes_keeps_a_pixel_whatever_the_batch() -> None:
    probs = some_probs(9, 5, 6, 8, 8, sharpness=2.0)
    valid = everywhere(probs)
    weight = near_best_of_class(probs, valid)
    top, place = probs.flatten(2).max(2)
    kept = weight.flatten(1).gather(1, place) > 0
    assert kept[top > 0.92].all() and (top <= 0.92).any() and (top > 0.92).any()
    for number in range(5):
        alone = near_best_of_class(probs[number : number + 1], valid[:1])
        assert torch.equal(alone[0], weight[number])
    none = near_best_of_class(some_probs(9, 2, 6, 8, 8, sharpness=0.1), valid[:2])
    assert not none.any()


def test_what_shows_no_picture_sets_no_limit() -> None:
    probs = torch.tensor([[1.0, 0.95, 0.94], [0.0, 0.05, 0.06]]).view(1, 2, 1, 3)
    valid = torch.tensor([[[False, True, True]]])
    assert near_best_of_class(probs, valid).tolist() == [[[0, 1, 1]]]
    assert not near_best_of_class(probs, ~valid & False).any()
    with pytest.raises(ValueError, match="least"):
        near_best_of_class(probs, valid, least=1.5)


# -- the moving threshold --------------------------------------------------------------------------


def test_the_level_follows_the_mean_of_the_classes_best() -> None:
    threshold = MovingThreshold(4, start=0.85, momentum=0.9)
    confidence = torch.tensor([0.6, 0.9, 0.7, 1.0, 0.99])
    classes = torch.tensor([0, 0, 1, 2, 3])
    valid = torch.tensor([True, True, True, True, False])
    threshold.update(confidence, classes, valid)
    expected = 0.9 * 0.85 + 0.1 * (0.9 + 0.7 + 1.0) / 3
    assert float(threshold.level) == pytest.approx(expected)
    assert threshold(torch.tensor([expected - 1e-3, expected + 1e-3])).tolist() == [0, 1]
    threshold.update(confidence, classes, torch.zeros(5, dtype=torch.bool))
    assert float(threshold.level) == pytest.approx(expected)


def test_the_level_stays_in_range_and_moves_slowly() -> None:
    threshold, generator = MovingThreshold(5), torch.Generator().manual_seed(10)
    for _ in range(50):
        before = float(threshold.level)
        probs = (torch.randn(2, 5, 4, 4, generator=generator) * 4).softmax(1)
        confidence, classes = probs.max(1)
        threshold.update(confidence, classes, everywhere(probs))
        assert abs(float(threshold.level) - before) <= 0.001 and 0 < float(threshold.level) <= 1
    assert float(threshold.level) != 0.85


def test_processes_share_one_level() -> None:
    first, second = torch.tensor([0.9, 0.5]), torch.tensor([0.7, 0.8])
    classes, valid = torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool)
    whole = MovingThreshold(3, momentum=0.5)
    whole.update(torch.cat([first, second]), classes.repeat(2), valid.repeat(2))
    other = torch.tensor([[0.7, 0.8, -1.0]])
    part = MovingThreshold(3, momentum=0.5, gather=lambda rows: torch.cat([rows, other]))
    part.update(first, classes, valid)
    assert float(part.level) == float(whole.level) == pytest.approx((0.85 + 0.85) / 2)
    with pytest.raises(ValueError, match="momentum"):
        MovingThreshold(3, momentum=1.0)
