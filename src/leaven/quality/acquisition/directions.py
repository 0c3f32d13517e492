"""Features as they are compared: narrow enough to be kept of every item, and as unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WIDEST = 256
"""Features of more columns are projected, so that those of 100,000 items take 100 MB."""

_SEED = 20240229


def narrowed(features: Tensor, width: int = WIDEST) -> Tensor:
    """Features (n, D) in at most ``width`` columns, with distances and inner products kept.

    Wider ones are multiplied by a fixed matrix of independent normal numbers of variance
    ``1 / width``: the squared distance of two items changes by a factor of ``1 +- sqrt(2 / width)``
    (one standard deviation), whatever D is. The matrix depends on D and ``width`` alone, so that
    rows that are projected batch by batch are comparable.

    Source: Johnson and Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert space", 1984.
    """
    features = features.float()
    if features.shape[1] <= width:
        return features
    generator = torch.Generator().manual_seed(_SEED)
    matrix = torch.randn(features.shape[1], width, generator=generator) / width**0.5
    return features @ matrix.to(features)


def directions(probs: Tensor, features: Tensor | None) -> Tensor:
    """Unit vectors (n, D) of the items, whose inner products say how alike two of them are.

    Features are centred, or all of them would point much the same way. Without features they are
    ``sqrt(probs)``, whose cosine is the Bhattacharyya coefficient.
    """
    if features is None:
        return functional.normalize(probs.float().sqrt(), dim=1)
    features = features.float()
    return functional.normalize(features - features.mean(0), dim=1)


def nearest(rows: Tensor, everything: Tensor, own: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The items most like each of some rows, by inner product.

    Args:
        rows: (m, D) unit vectors.
        everything: (n, D) unit vectors.
        own: (m,) int64, where the rows are among ``everything``; an item is not its own neighbour.
        count: neighbours of each.

    Returns:
        index (m, k) int64 and likeness (m, k) in [0, 1], ``max(0, cos)``, with
        ``k = min(count, n - 1)``.
    """
    count = max(0, min(count, len(everything) - 1))
    index, likeness = [], []
    step = max(1, 2**24 // max(1, len(everything)))
    for part, self_ in zip(rows.split(step), own.split(step), strict=True):
        cosine = part @ everything.T
        cosine.scatter_(1, self_[:, None], -2.0)
        value, place = cosine.topk(count, dim=1)
        index.append(place)
        likeness.append(value.clamp(0, 1))
    if not index:
        return own.new_zeros(0, count), rows.new_zeros(0, count)
    return torch.cat(index), torch.cat(likeness)
