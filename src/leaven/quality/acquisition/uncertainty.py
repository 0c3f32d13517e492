"""How unsure a model is of an item, from its probabilities alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def least_confidence(probs: Tensor) -> Tensor:
    """``(1 - max_k p_k) K / (K - 1)``: 0 of a sure item, 1 where all classes are alike.

    Args:
        probs: (n, K) probabilities; any further dimensions behind K are kept.

    Returns:
        (n,) in [0, 1], zeros of a single class.

    Source: Lewis and Gale, "A sequential algorithm for training text classifiers", SIGIR 1994.
    """
    count = probs.shape[1]
    if count == 1:
        return torch.zeros_like(probs[:, 0])
    return ((1 - probs.amax(1)) * count / (count - 1)).clamp(0, 1)


def margin(probs: Tensor) -> Tensor:
    """``1 - (p_first - p_second)``: 0 of a sure item, 1 where two classes are equally likely.

    Args, returns: as of ``least_confidence``.

    Source: Scheffer et al., "Active hidden Markov models for information extraction", IDA 2001.
    """
    if probs.shape[1] == 1:
        return torch.zeros_like(probs[:, 0])
    first, second = probs.topk(2, dim=1).values.unbind(1)
    return (1 - (first - second)).clamp(0, 1)


def entropy(probs: Tensor) -> Tensor:
    """``-sum_k p_k log p_k / log K``: 0 of a sure item, 1 where all classes are alike.

    Args, returns: as of ``least_confidence``.

    Source: Shannon, "A mathematical theory of communication", 1948; as a query strategy: Settles,
    "Active learning literature survey", 2009.
    """
    count = probs.shape[1]
    if count == 1:
        return torch.zeros_like(probs[:, 0])
    bits = -torch.special.xlogy(probs, probs).sum(1)
    return (bits / torch.tensor(float(count)).log()).clamp(0, 1)


UNCERTAINTY: dict[str, Callable[[Tensor], Tensor]] = {
    "margin": margin,
    "entropy": entropy,
    "least-confidence": least_confidence,
}
"""By the name that people choose them by."""
