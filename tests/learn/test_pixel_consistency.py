"""Losses between outputs for pixels, and dropped channels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from leaven.draws import Draws
from leaven.learn import (
    drop_channels,
    pixel_divergence,
    pixel_mean_squared,
    standardised,
    standardised_pair_loss,
)


def test_mean_squares_count_valid_pixels() -> None:
    logits, targets = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5).softmax(1)
    valid = torch.rand(2, 3, 5) < 0.6
    difference = (logits.softmax(1) - targets).square().mean(1)
    torch.testing.assert_close(pixel_mean_squared(logits, targets, valid), difference[valid].mean())
    assert float(pixel_mean_squared(logits, logits.softmax(1), valid)) < 1e-12
    assert float(pixel_mean_squared(logits, targets, valid & False)) == 0


def test_the_divergence_is_torchs_weighted() -> None:
    logits, targets = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5).softmax(1)
    targets[0, :, 0, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    weight, valid = torch.rand(2, 3, 5), torch.rand(2, 3, 5) < 0.6
    rows = F.kl_div(logits.log_softmax(1), targets, reduction="none").sum(1)
    found = pixel_divergence(logits, targets, weight * valid, valid)
    torch.testing.assert_close(found, (rows * weight)[valid].sum() / valid.sum())
    assert float(pixel_divergence(logits, targets, weight * 0, valid & False)) == 0
    assert abs(float(pixel_divergence(logits, logits.softmax(1), weight, valid))) < 1e-6


def test_standardised_logits_have_mean_zero_and_spread_one() -> None:
    logits = torch.randn(2, 5, 3, 4) * 3 + 1
    found = standardised(logits)
    torch.testing.assert_close(found.mean(1), torch.zeros(2, 3, 4), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.std(1), torch.ones(2, 3, 4))
    scale, shift = torch.rand(2, 1, 3, 4) * 5 + 0.1, torch.randn(2, 1, 3, 4)
    torch.testing.assert_close(standardised(scale * logits + shift), found, rtol=1e-4, atol=1e-5)
    assert (standardised(torch.ones(1, 5, 2, 2)) == 0).all()


def test_the_pair_loss_is_one_minus_the_correlation() -> None:
    first, second = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    rows = first.movedim(1, -1).flatten(0, 2), second.movedim(1, -1).flatten(0, 2)
    correlation = torch.stack([torch.corrcoef(torch.stack(p))[0, 1] for p in zip(*rows)])
    expected = (2 * 4 / 5 * (1 - correlation)).mean()
    torch.testing.assert_close(standardised_pair_loss(first, second), expected)
    assert float(standardised_pair_loss(first, 3 * first - 2)) < 1e-10
    assert float(standardised_pair_loss(first, -first)) == pytest.approx(4 * 4 / 5, rel=1e-5)


def test_both_members_learn_and_flat_pixels_stay_finite() -> None:
    first = torch.randn(1, 3, 2, 2)
    first[..., 0] = 0
    first.requires_grad_()
    second = torch.randn(1, 3, 2, 2, requires_grad=True)
    standardised_pair_loss(first, second).backward()
    for member in (first, second):
        assert member.grad is not None and member.grad.isfinite().all() and member.grad.any()


def test_dropped_channels_are_whole_and_the_rest_is_larger() -> None:
    maps = torch.rand(64, 50, 2, 3) + 1
    found = drop_channels(maps, Draws(0), 0.25)
    ratio = found / maps
    dropped = (ratio == 0).all((2, 3))
    assert ((ratio == 0).any((2, 3)) == dropped).all()
    kept = ratio[~dropped]
    torch.testing.assert_close(kept, torch.full_like(kept, 4 / 3))
    assert dropped.float().mean() == pytest.approx(0.25, abs=0.03)
    assert len(dropped.unique(dim=0)) == 64
    assert torch.equal(drop_channels(maps, Draws(0), 0.0), maps)
    assert torch.equal(drop_channels(maps, Draws(0), 0.25), found)
    with pytest.raises(ValueError, match="dropping"):
        drop_channels(maps, Draws(0), 1.0)
