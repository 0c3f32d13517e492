"""The best items that are unlike each other."""

from __future__ import annotations

import torch
from torch import Tensor

CANDIDATES_PER_PICK = 20
"""Only so many times ``count`` of the items of most worth are compared with each other, so that
the cost does not grow with the square of the data set."""

LEAST_CANDIDATES = 500


def candidates(value: Tensor, count: int) -> Tensor:
    """The items (m,) of most worth that are looked at where ``count`` are to be picked."""
    pool = min(len(value), max(LEAST_CANDIDATES, CANDIDATES_PER_PICK * count))
    return value.topk(pool).indices


def novel(
    value: Tensor, directions: Tensor, count: int, novelty: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Items picked one after the other by ``value_i * (1 - max(0, cos))``, where the cosine is that
    to the most similar item picked before, and 0 for the first.

    Args:
        value: (n,) of 0 or more.
        directions: (n, D) unit vectors.
        count: how many are wanted.
        novelty: (n,) in [0, 1] before the first pick, 1 each when None: the cosine may also be that
            to items that were labelled before.

    Returns:
        ``index`` (m,) int64 in the order of the picks and their ``score`` (m,), never rising, with
        ``m = min(count, n)``.

    Source: Carbonell and Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998, with a
    product in the place of the sum.
    """
    count = max(0, min(count, len(value)))
    novelty = torch.ones_like(value) if novelty is None else novelty
    free = torch.ones_like(value, dtype=torch.bool)
    picks, scores = [], []
    for _ in range(count):
        score, place = torch.where(free, value * novelty, -1.0).max(0)
        picks.append(place)
        scores.append(score)
        free = free.index_fill(0, place, False)
        similar = (directions @ directions[place]).clamp(0, 1)
        novelty = torch.minimum(novelty, 1 - similar)
    if not picks:
        return torch.zeros(0, dtype=torch.long, device=value.device), value.new_zeros(0)
    return torch.stack(picks), torch.stack(scores)
