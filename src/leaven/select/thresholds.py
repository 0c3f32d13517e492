"""Thresholds on confidence: one number for all items, fixed or a percentile of all items."""

from __future__ import annotations

import math

from torch import Tensor


def fixed_threshold(confidence: Tensor, threshold: float | Tensor) -> Tensor:
    """Trusts every proposal that is at least as confident as the threshold.

    ``weight_i = 1[confidence_i >= threshold]``

    Args:
        confidence: (B,) in [0, 1], usually the largest probability of each item.
        threshold: in [0, 1]; a number, a 0-d tensor, or (B,) for a threshold per item.

    Returns:
        (B,) weights, 0 or 1, in the dtype of ``confidence``. An item of which the confidence is
        NaN gets 0.

    Source: Sohn et al., FixMatch, NeurIPS 2020. Used by: FixMatch, 006, 077.
    """
    return (confidence >= threshold).to(confidence.dtype)


def percentile_threshold(confidence: Tensor, percentile: float) -> Tensor:
    """The confidence below which ``percentile`` per cent of the items lie.

    With the confidences in ascending order ``c_0 <= ... <= c_(n-1)`` and the rank
    ``r = percentile / 100 * (n - 1)``, interpolated linearly between its neighbours:
    ``c_floor(r) + (r - floor(r)) * (c_ceil(r) - c_floor(r))``.

    Meant for all unlabelled items at once: the percentile of a batch is another, noisy quantity.
    Unlike ``torch.quantile`` it takes any number of items.

    Args:
        confidence: (n,) with n >= 1.
        percentile: in [0, 100]; 0 gives the smallest confidence, 100 the largest.

    Returns:
        The threshold, a 0-d tensor in the dtype of ``confidence``.

    Raises:
        ValueError: no item, or a percentile outside [0, 100].

    Source: Cascante-Bonilla et al., Curriculum Labeling, AAAI 2021. Used by: 002.
    """
    if confidence.ndim != 1 or len(confidence) == 0:
        raise ValueError(f"confidence is (n,) with n >= 1, not {tuple(confidence.shape)}")
    if not 0 <= percentile <= 100:
        raise ValueError(f"a percentile is in [0, 100], not {percentile}")
    rank = percentile / 100 * (len(confidence) - 1)
    low, high = math.floor(rank), math.ceil(rank)
    ascending = confidence.sort().values
    return ascending[low].lerp(ascending[high], rank - low)


def percentile_schedule(round_number: int, step: float) -> float:
    """The percentile of a curriculum that trusts ``step`` per cent more items in every round.

    ``q_r = max(0, 100 - step * r)``: with ``step = 20`` rounds 1 to 5 give 80, 60, 40, 20, 0.

    Args:
        round_number: r >= 0; round 0 trusts nothing but the labels.
        step: percentile points per round, in (0, 100].

    Raises:
        ValueError: a negative round or a step outside (0, 100].

    Source: Cascante-Bonilla et al., Curriculum Labeling, AAAI 2021. Used by: 002.
    """
    if round_number < 0:
        raise ValueError(f"rounds are counted from 0, not {round_number}")
    if not 0 < step <= 100:
        raise ValueError(f"a percentile step is in (0, 100], not {step}")
    return max(0.0, 100.0 - step * round_number)


def top_percentile(confidence: Tensor, percentile: float) -> Tensor:
    """Trusts the items at or above a percentile of all confidences.

    ``weight_i = 1[confidence_i >= percentile_threshold(confidence, percentile)]``

    Args:
        confidence: (n,), n >= 1, of all unlabelled items.
        percentile: in [0, 100]; 0 trusts all items, 100 those that share the largest confidence.

    Returns:
        (n,) weights, 0 or 1, in the dtype of ``confidence``.

    Raises:
        ValueError: as ``percentile_threshold``.

    Source: Cascante-Bonilla et al., Curriculum Labeling, AAAI 2021. Used by: 002.
    """
    return fixed_threshold(confidence, percentile_threshold(confidence, percentile))
