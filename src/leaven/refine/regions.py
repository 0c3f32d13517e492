"""Labels and trust spread over regions that are almost all of one trusted class."""

from __future__ import annotations

import torch
from torch import Tensor


def vote_in_regions(
    classes: Tensor,
    trusted: Tensor,
    regions: Tensor,
    limit: float | Tensor,
    num_classes: int,
) -> tuple[Tensor, Tensor]:
    """Gives regions the class of their trusted pixels, where these are many and agree.

    One region M after the other, with C the trusted pixels as they came in: it is accepted when
    ``|M and C| > 0``, ``|M and C| / |M| >= limit``, and the most frequent class among the pixels of
    ``M and C`` (the smallest of several) has a share of more than ``limit`` of them. Then all of M
    gets that class and is trusted. Later regions see the classes that earlier ones have changed.

    Args:
        classes: (B, H, W) int64 in 0..K-1 where trusted.
        trusted: (B, H, W) bool.
        regions: (B, M, H, W) bool.
        limit: both ratios, in [0, 1].
        num_classes: K.

    Returns:
        the classes and the trusted pixels after it, (B, H, W) each.

    Source: Sun et al., CorrMatch, CVPR 2024, https://github.com/BBBBchan/CorrMatch. Used by: 087.
    """
    found, grown = classes.flatten(1).clone(), trusted.flatten(1).clone()
    certain, areas = trusted.flatten(1), regions.flatten(2)
    inside = areas & certain[:, None]
    hits = inside.sum(2)
    # A region without pixels has no hits, so that what it is divided by does not matter.
    dense = (hits > 0) & (hits / areas.sum(2).clamp_min(1) >= limit)
    for area, voters, count, candidate in zip(
        areas.unbind(1), inside.unbind(1), hits.unbind(1), dense.unbind(1), strict=True
    ):
        votes = torch.zeros(len(found), num_classes, device=found.device)
        votes.scatter_add_(1, found.clamp_min(0), voters.to(votes.dtype))
        most, winner = votes.max(1)
        accepted = candidate & (most / count.clamp_min(1) > limit)
        taken = area & accepted[:, None]
        found = torch.where(taken, winner[:, None], found)
        grown |= taken
    return found.view_as(classes), grown.view_as(trusted)
