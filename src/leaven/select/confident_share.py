"""One weight for a whole batch: how much of it is certain."""

from __future__ import annotations

from torch import Tensor


def confident_share(confidence: Tensor, valid: Tensor, threshold: float = 0.968) -> Tensor:
    """The share of the valid pixels whose confidence reaches a threshold.

    ``w = sum_i 1[c_i >= threshold] / n`` over the n valid pixels of the batch.

    Args:
        confidence: (B, H, W) in [0, 1].
        valid: the same shape, bool.
        threshold: in [0, 1].

    Returns:
        0-d in [0, 1]; 0 where nothing is valid.

    Source: Tranheden et al., DACS, WACV 2021. Used by: 036, 093.
    """
    sure = valid & (confidence >= threshold)
    return sure.sum().to(confidence.dtype) / valid.sum().clamp_min(1)
