"""Weights that make up for unequal class counts."""

from __future__ import annotations

import torch
from torch import Tensor


def class_weights(counts: Tensor, normalised: bool = False) -> Tensor:
    """The odds against each class in a training set.

    ``w_k = (N - n_k) / n_k``, ``N = sum_k n_k``. A class without an item has weight 0: no target
    names it. Equal counts give equal weights, K - 1 each.

    Args:
        counts: (K,) items per class, >= 0.
        normalised: divide by the mean weight of the classes that have items, so that equal counts
            give 1. A common factor cancels in the weighted mean of ``cross_entropy``; it matters
            for a loss that is a plain mean.

    Returns:
        (K,) float32 (float64 for float64 counts). All 0 where only one class has items: there is
        nothing to tell apart, and the weighted cross entropy is 0.

    Source: Cascante-Bonilla et al., Curriculum Labeling, AAAI 2021 (its code). Used by: 002.
    """
    counts = counts.to(torch.promote_types(counts.dtype, torch.float32))
    weights = torch.where(counts > 0, (counts.sum() - counts) / counts, 0)
    if not normalised:
        return weights
    mean = weights.sum() / (counts > 0).sum().clamp_min(1)
    return torch.where(mean > 0, weights / mean, weights)
