"""Logits spread along a correlation, regions drawn from it, and votes in regions."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.refine import regions_of_rows, spread_by_correlation, vote_in_regions

SHAPE = (3, 4)


def some_correlation(seed: int = 0, sharpness: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(2, 12, 12, generator=generator) * sharpness).softmax(2)


def test_spreading_is_the_sum_over_rows_and_keeps_the_mass() -> None:
    logits, correlation = torch.randn(2, 5, *SHAPE), some_correlation()
    spread = spread_by_correlation(logits, correlation)
    expected = torch.einsum("bki,bij->bkj", logits.flatten(2), correlation).view_as(logits)
    torch.testing.assert_close(spread, expected)
    torch.testing.assert_close(spread.sum((2, 3)), logits.sum((2, 3)), rtol=1e-4, atol=1e-4)


def test_the_identity_leaves_and_equal_rows_average() -> None:
    logits = torch.randn(2, 5, *SHAPE)
    same = spread_by_correlation(logits, torch.eye(12).expand(2, -1, -1))
    torch.testing.assert_close(same, logits)
    even = spread_by_correlation(logits, torch.full((2, 12, 12), 1 / 12))
    torch.testing.assert_close(even, logits.mean((2, 3), keepdim=True).expand_as(logits))


def test_the_gradient_goes_into_the_correlation_alone() -> None:
    logits = torch.randn(2, 5, *SHAPE, requires_grad=True)
    correlation = some_correlation().requires_grad_()
    spread_by_correlation(logits, correlation).square().sum().backward()
    assert logits.grad is None and correlation.grad is not None and correlation.grad.any()


def test_regions_are_the_upper_half_of_the_range_of_rows() -> None:
    correlation, size = some_correlation(sharpness=0.5), (9, 16)
    regions = regions_of_rows(correlation, SHAPE, size, Draws(0), 40)
    assert regions.shape == (2, 40, 9, 16) and regions.dtype == torch.bool
    large = torch.nn.functional.interpolate(
        correlation.view(2, 12, *SHAPE), size, mode="bilinear", align_corners=True
    )
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    candidates = (large - low) / (high - low) > 0.5
    drawn = set()
    for picture in range(2):
        for region in regions[picture]:
            equal = (candidates[picture] == region).flatten(1).all(1)
            assert equal.any()
            drawn.add((picture, int(equal.float().argmax())))
    # Nearly every row of each picture comes up in 40 draws from 12.
    assert len(drawn) > 20
    again = regions_of_rows(correlation * 7, SHAPE, size, Draws(0), 40)
    assert torch.equal(again, regions)
    flat = regions_of_rows(torch.full((1, 12, 12), 1 / 12), SHAPE, size, Draws(0), 2)
    assert not flat.any()


def slow_votes(
    classes: Tensor, trusted: Tensor, regions: Tensor, limit: float
) -> tuple[Tensor, Tensor]:
    classes, grown = classes.clone(), trusted.clone()
    for picture in range(len(classes)):
        for region in regions[picture]:
            inside = region & trusted[picture]
            if not inside.any() or inside.sum() / region.sum() < limit:
                continue
            found, count = classes[picture][inside].unique(return_counts=True)
            if count.max() / count.sum() > limit:
                classes[picture][region] = found[count.argmax()]
                grown[picture] |= region
    return classes, grown


def some_votes(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Classes that change slowly over the picture, and regions that are boxes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 3, (4, 1, 3, 4), generator=generator).float()
    classes = torch.nn.functional.interpolate(coarse, (12, 16))[:, 0].long()
    noise = torch.rand(4, 12, 16, generator=generator)
    classes = torch.where(
        noise < 0.15, torch.randint(0, 3, (4, 12, 16), generator=generator), classes
    )
    trusted = torch.rand(4, 12, 16, generator=generator) < 0.8
    rows, columns = torch.arange(12), torch.arange(16)
    corner = torch.rand(4, 20, 2, generator=generator) * torch.tensor([9, 12])
    side = torch.rand(4, 20, 2, generator=generator) * 5 + 1
    down = (rows >= corner[..., :1]) & (rows < (corner + side)[..., :1])
    right = (columns >= corner[..., 1:]) & (columns < (corner + side)[..., 1:])
    return classes, trusted, down[..., :, None] & right[..., None, :]


def test_votes_are_those_of_one_region_after_the_other() -> None:
    for seed in range(5):
        classes, trusted, regions = some_votes(seed)
        for limit in (0.5, 0.7):
            found, grown = vote_in_regions(classes, trusted, regions, limit, 3)
            expected, expected_grown = slow_votes(classes, trusted, regions, limit)
            assert torch.equal(found, expected) and torch.equal(grown, expected_grown)
            assert not torch.equal(found, classes) and grown.sum() > trusted.sum()
            assert not torch.equal(found, slow_votes(classes, trusted, regions.flip(1), limit)[0])


def test_both_ratios_must_pass() -> None:
    classes = torch.tensor([[[0, 0, 0, 1, 2, 2, 2, 2]]])
    trusted = torch.tensor([[[True, True, True, True, True, False, False, False]]])
    agree = torch.tensor([True, True, True, True, False, False, False, False]).view(1, 1, 1, 8)
    found, grown = vote_in_regions(classes, trusted, agree, 0.7, 3)
    assert found.tolist() == [[[0, 0, 0, 0, 2, 2, 2, 2]]] and torch.equal(grown, trusted)
    assert torch.equal(vote_in_regions(classes, trusted, agree, 0.75, 3)[0], classes)
    thin = torch.tensor([False, False, False, False, True, True, True, True]).view(1, 1, 1, 8)
    assert torch.equal(vote_in_regions(classes, trusted, thin, 0.7, 3)[1], trusted)
    assert vote_in_regions(classes, trusted, thin, 0.25, 3)[1].all()


def test_an_impossible_limit_or_no_region_changes_nothing() -> None:
    classes, trusted, regions = some_votes(0)
    for limit, areas in ((1.01, regions), (0.0, regions & False), (0.5, regions[:, :0])):
        found, grown = vote_in_regions(classes, trusted, areas, torch.tensor(limit), 3)
        assert torch.equal(found, classes) and torch.equal(grown, trusted)
    # What is not in a region stays as it is.
    found, grown = vote_in_regions(classes, trusted, regions, 0.5, 3)
    outside = ~regions.any(1)
    assert torch.equal(found[outside], classes[outside])
    assert torch.equal(grown[outside], trusted[outside])
