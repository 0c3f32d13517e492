"""Items that stand for many others: what to label while there are next to no labels."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NEIGHBOURS = 20
"""Typicality is measured over so many nearest items, or half of a smaller cluster."""

MOST_CLUSTERS = 500
SMALLEST_CLUSTER = 5
"""Smaller clusters are passed over while there are others."""

REFERENCES = 2000
"""In larger clusters distances are measured to so many of its items, evenly spaced."""

_EXACT = 20_000
"""Up to so many items k-means sees all of them at each step, beyond that mini-batches."""


def typical(
    features: Tensor, count: int, covered: Tensor | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The most typical item of each cluster in which nothing is labelled yet.

    Labelled and unlabelled items, as unit vectors, are parted by k-means into as many clusters as
    there are labelled items and picks together (at most 500). The clusters are visited by the
    number of labelled items in them, few first, and then by their size, large first; clusters of
    fewer than 5 items come last. In each visit the unlabelled item of highest typicality is taken,

        ``typicality_i = 1 / mean distance to its k nearest items in the cluster``

    with ``k = min(20, half of the cluster)``, at least 1. Where more are wanted than there are
    clusters, they are visited again.

    Args:
        features: (n, D) of the items that may be picked; best of a network that learned without
            labels, or of a frozen one.
        count: how many are wanted.
        covered: (m, D) features of the labelled items, or None.
        seed: of k-means.

    Returns:
        ``index`` (m,) int64 in the order of the picks and ``score`` (m,) in (0, 1]: the share of all
        items that are in the cluster of the pick; with ``m = min(count, n)``.

    Source: Hacohen et al., "Active learning on a budget: opposite strategies suit high and low
    budgets" (TypiClust), ICML 2022. Here typicality is worked out once for each cluster, and in
    clusters of more than 2000 items against evenly spaced ones, with k in proportion.
    """
    count = max(0, min(count, len(features)))
    if count == 0:
        return torch.zeros(0, dtype=torch.long), torch.zeros(0)
    covered = features[:0] if covered is None else covered
    unit = functional.normalize(torch.cat([features, covered]).float().cpu(), dim=1)
    cluster = _clusters(unit, min(MOST_CLUSTERS, count + len(covered), len(unit)), seed)
    number = int(cluster.max()) + 1
    own = cluster[: len(features)]
    size = torch.bincount(cluster, minlength=number)
    labelled = size - torch.bincount(own, minlength=number)
    rank = np.lexsort((-size.numpy(), labelled.numpy(), size.numpy() < SMALLEST_CLUSTER))
    queues = {
        int(k): _by_typicality(unit, cluster, len(features), int(k))
        for k in rank[: count if number >= count else None]
    }
    picks: list[int] = []
    while len(picks) < count:
        for k in rank:
            if int(k) not in queues:
                queues[int(k)] = _by_typicality(unit, cluster, len(features), int(k))
            if queues[int(k)] and len(picks) < count:
                picks.append(queues[int(k)].pop(0))
    index = torch.tensor(picks)
    return index, size[own[index]].float() / len(unit)


def _clusters(unit: Tensor, number: int, seed: int) -> Tensor:
    """(n,) the cluster of each item."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if number == 1:
        return torch.zeros(len(unit), dtype=torch.long)
    exact = KMeans(number, n_init=1, random_state=seed)
    parts = MiniBatchKMeans(number, batch_size=5000, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        # Fewer different items than clusters are no fault: the clusters are then fewer.
        warnings.simplefilter("ignore")
        found = (exact if len(unit) <= _EXACT else parts).fit_predict(unit.numpy())
    return torch.from_numpy(found).long()


def _by_typicality(unit: Tensor, cluster: Tensor, free: int, number: int) -> list[int]:
    """The items of a cluster that may be picked (those before ``free``), the most typical first."""
    members = (cluster == number).nonzero().squeeze(1)
    stride = -(-len(members) // REFERENCES)
    references = members[::stride]
    near = min(NEIGHBOURS, len(members) // 2)
    near = max(1, min(round(near / stride), len(references) - 1))
    open_items = members[members < free]
    if len(members) == 1:
        return [int(item) for item in open_items]
    means = []
    for part in open_items.split(max(1, 2**22 // len(references))):
        distance = torch.cdist(unit[part], unit[references])
        distance = torch.where(part[:, None] == references, torch.inf, distance)
        means.append(distance.topk(near, dim=1, largest=False).values.mean(1))
    order = torch.cat([*means, torch.zeros(0)]).argsort(stable=True)
    return [int(item) for item in open_items[order]]
