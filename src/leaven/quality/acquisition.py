"""Which items a person should label next."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CANDIDATES_PER_PICK = 20
"""Only so many times ``count`` of the most uncertain items are compared with each other, so that
the cost does not grow with the square of the data set."""

LEAST_CANDIDATES = 500
REFERENCES = 2000
"""Density is measured against at most so many items, evenly spaced over the data set."""


def label_next(probs: Tensor, features: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """The items whose label would help most: uncertain, typical, and unlike each other.

    ``score_i = uncertainty_i * density_i * novelty_i``, each in [0, 1]:

    - uncertainty ``1 - (p_first - p_second)``, the margin between the two likeliest classes;
    - density: the mean similarity ``max(0, cos)`` to the other items, so that outliers, which
      teach about nothing but themselves, come late; divided by the largest;
    - novelty: ``1 - max(0, cos)`` to the most similar item picked before, 1 for the first.

    Items are picked greedily; only the most uncertain ones are candidates.

    Args:
        probs: (n, K) probabilities of the items without a label.
        features: (n, D) features of the items; without them ``sqrt(probs)`` is used, whose cosine
            is the Bhattacharyya coefficient.
        count: how many are wanted.

    Returns:
        ``index`` (m,) int64 in order of worth and ``score`` (m,) in [0, 1], never rising, with
        ``m = min(count, n)``.

    Sources: Scheffer et al., "Active hidden Markov models for information extraction", 2001
    (margin); Settles and Craven, "An analysis of active learning strategies for sequence labeling
    tasks", EMNLP 2008 (information density); Sener and Savarese, "Active learning for
    convolutional neural networks: a core-set approach", ICLR 2018 (greedy k-center).
    """
    count = min(count, len(probs))
    if count <= 0:
        return probs.new_zeros(0, dtype=torch.long), probs.new_zeros(0)
    uncertainty = _uncertainty(probs.float())
    pool = min(len(probs), max(LEAST_CANDIDATES, CANDIDATES_PER_PICK * count))
    value, candidates = uncertainty.topk(pool)
    directions = _directions(probs, features)
    own = directions[candidates]
    value = value * _density(own, directions)
    return _greedy(candidates, value, own, count)


def _uncertainty(probs: Tensor) -> Tensor:
    if probs.shape[1] == 1:
        return 1 - probs[:, 0]
    first, second = probs.topk(2, dim=1).values.unbind(1)
    return (1 - (first - second)).clamp(0, 1)


def _directions(probs: Tensor, features: Tensor | None) -> Tensor:
    """Unit vectors (n, D). Features are centred, or all of them would point much the same way."""
    if features is None:
        return functional.normalize(probs.float().sqrt(), dim=1)
    features = features.float()
    return functional.normalize(features - features.mean(0), dim=1)


def _density(candidates: Tensor, everything: Tensor) -> Tensor:
    stride = -(-len(everything) // REFERENCES)
    density = (candidates @ everything[::stride].T).clamp_min(0).mean(1)
    return density / density.max().clamp_min(torch.finfo(density.dtype).tiny)


def _greedy(
    candidates: Tensor, value: Tensor, directions: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    novelty = torch.ones_like(value)
    free = torch.ones_like(value, dtype=torch.bool)
    picks, scores = [], []
    for _ in range(count):
        score, place = torch.where(free, value * novelty, -1.0).max(0)
        picks.append(place)
        scores.append(score)
        free = free.index_fill(0, place, False)
        similar = (directions @ directions[place]).clamp(0, 1)
        novelty = torch.minimum(novelty, 1 - similar)
    return candidates[torch.stack(picks)], torch.stack(scores)
