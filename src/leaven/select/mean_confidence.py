"""One confidence threshold for a batch that rises with how sure the model is of it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def mean_confidence_threshold(
    confidence: Tensor,
    valid: Tensor,
    base: float = 0.6,
    slope: float = 0.5,
    bounds: tuple[float, float] = (0.3, 0.8),
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """``theta = clip(base / (1 + exp(-slope (c - 1/2))), bounds)``, c the mean confidence.

    It never exceeds ``base``: with the defaults it goes from 0.3, up to a mean of 1/2, to 0.337 at
    a mean of 1.

    Args:
        confidence: (B, H, W) in [0, 1].
        valid: the same shape, bool, the pixels whose mean is meant.
        base: theta_0, above 0.
        slope: beta, above 0.
        bounds: lowest and highest threshold.
        reduce: the mean of a number over processes; None for one process.

    Returns:
        0-d; that of a mean of 0 where nothing is valid.

    Source: CW-BASS, IJCNN 2025 (arXiv:2502.15152), https://github.com/psychofict/CW-BASS. Used by:
    086.
    """
    mean = (confidence * valid).sum() / valid.sum().clamp_min(1)
    mean = mean if reduce is None else reduce(mean)
    return (base * (slope * (mean - 0.5)).sigmoid()).clamp(*bounds)
