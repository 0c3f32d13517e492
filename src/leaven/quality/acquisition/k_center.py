"""Items that leave nothing far from a labelled one."""

from __future__ import annotations

import torch
from torch import Tensor

_AT_ONCE = 2**24
"""Distances that are held at once."""


def k_center(features: Tensor, count: int, covered: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Greedy k-center: each pick is the item farthest from all that are labelled or picked before.

    ``i = argmax_i min_c ||f_i - f_c||`` over the centres c. The largest distance that is left is at
    most twice the smallest that any choice of as many items could leave (Gonzalez, 1985). Without
    labelled items the first pick is the item nearest to the mean, and its score the largest
    distance to it.

    Args:
        features: (n, D) of the items that may be picked.
        count: how many are wanted.
        covered: (m, D) features of the items that are labelled already, or None.

    Returns:
        ``index`` (m,) int64 in the order of the picks and the ``distance`` (m,) of each from its
        nearest centre before it was picked, never rising, with ``m = min(count, n)``.

    Source: Sener and Savarese, "Active learning for convolutional neural networks: a core-set
    approach", ICLR 2018 (its greedy algorithm).
    """
    count = max(0, min(count, len(features)))
    features = features.float()
    picks: list[Tensor] = []
    distances: list[Tensor] = []
    if count == 0:
        return torch.zeros(0, dtype=torch.long, device=features.device), features.new_zeros(0)
    if covered is not None and len(covered):
        reach = _to_nearest(features, covered.float())
    else:
        first = (features - features.mean(0)).square().sum(1).argmin()
        reach = (features - features[first]).square().sum(1)
        picks, distances = [first], [reach.max()]
        reach = reach.index_fill(0, first, -1.0)
    while len(picks) < count:
        distance, place = reach.max(0)
        picks.append(place)
        distances.append(distance)
        reach = torch.minimum(reach, (features - features[place]).square().sum(1))
        reach = reach.index_fill(0, place, -1.0)
    return torch.stack(picks), torch.stack(distances).clamp_min(0).sqrt()


def _to_nearest(features: Tensor, covered: Tensor) -> Tensor:
    """(n,) the squared distance of each item to the nearest of ``covered``."""
    step = max(1, _AT_ONCE // len(covered))
    parts = [torch.cdist(part, covered).amin(1).square() for part in features.split(step)]
    return torch.cat(parts)
