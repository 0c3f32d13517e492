"""How undecided a prediction is."""

from __future__ import annotations

from torch import Tensor


def pixel_entropy(probs: Tensor) -> Tensor:
    """``H = -sum_k p_k log(p_k + 1e-10)``, which is 0 for a class of probability 1.

    Args:
        probs: (B, K, ...), sums of 1 over K.

    Returns:
        (B, ...) in [0, log K] up to rounding.

    Source: Wang et al., U2PL, CVPR 2022 (its code). Used by: 054, 117.
    """
    return -(probs * (probs + 1e-10).log()).sum(1)
