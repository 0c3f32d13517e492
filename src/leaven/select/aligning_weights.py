"""Trust in one term of a loss, from the score that concerns it."""

from __future__ import annotations

from torch import Tensor


def power_weight(
    scores: Tensor, scale: float = 1.0, power: float = 4.0, cap: float = 1.0
) -> Tensor:
    """``weight_i = scale * min(score_i, cap)^power``, without gradient.

    Increasing, flat from ``cap`` on and 0 at 0; with ``power`` 0 and ``scale`` 1 it is 1 everywhere.
    It weighs terms of a loss against each other and may be above 1. PAIS takes it of the class score
    for the class (12, 4, 0.5) and of the predicted IoU for the mask (2.5, 4).

    Args:
        scores: (m,) in [0, 1].
        scale, power: at least 0.
        cap: above 0.

    Returns:
        (m,) in [0, scale * cap^power].

    Raises:
        ValueError: a value outside its range.

    Source: Hu et al., Pseudo-label Alignment for Semi-supervised Instance Segmentation, ICCV 2023.
    Used by: 005.
    """
    if scale < 0 or power < 0 or cap <= 0:
        raise ValueError(
            f"scale and power are at least 0 and cap is above 0, not {scale}, {power} and {cap}"
        )
    return scale * scores.detach().clamp(0, cap).pow(power)
