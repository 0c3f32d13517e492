"""How far the outputs for pixels are from distributions, or from the outputs on another view."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-8
"""Added to the variance of logits."""


def pixel_mean_squared(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Mean squared difference of the probabilities of valid pixels.

    ``1 / (n K) sum_i valid_i sum_k (softmax(z_i)_k - t_ik)^2``, n valid pixels.

    Args:
        logits: (B, K, H, W).
        targets: (B, K, H, W) probabilities.
        valid: (B, H, W) bool.

    Returns:
        0-d in [0, 2 / K]; 0 where no pixel is valid.

    Source: Tarvainen and Valpola, Mean teachers, NeurIPS 2017, for pixels as in French et al.,
    BMVC 2020. Used by: mean-teacher.
    """
    squares = (logits.float().softmax(1) - targets.float()).square().mean(1)
    return _mean(squares * valid, valid)


def pixel_divergence(logits: Tensor, targets: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the outputs for pixels from distributions, in nats.

    ``1 / n sum_i w_i sum_k t_ik (log t_ik - log softmax(z_i)_k)`` with ``0 log 0 = 0``.

    Args:
        logits: (B, K, H, W).
        targets: (B, K, H, W) distributions; taken as constant.
        weight: (B, H, W) in [0, 1], or bool.
        valid: (B, H, W) bool, the pixels that n counts.

    Returns:
        0-d, >= 0 up to rounding; 0 where no pixel is valid.

    Source: Sun et al., CorrMatch, CVPR 2024. Used by: 087.
    """
    targets = targets.detach().float()
    rows = -(torch.special.entr(targets) + targets * logits.float().log_softmax(1)).sum(1)
    return _mean(rows * weight, valid)


def standardised(logits: Tensor) -> Tensor:
    """The logits of each pixel at mean 0 and spread 1 over the classes.

    ``n(z) = (z - mean_k z) / std_k z`` with the sample standard deviation (K - 1); logits that are
    all alike give 0. ``n(a z + b) = n(z)`` for a > 0.

    Args:
        logits: (B, K, H, W), K >= 2.

    Source: Tian et al., DSSN, ACM Multimedia 2023. Used by: 057.
    """
    logits = logits.float()
    centred = logits - logits.mean(1, keepdim=True)
    # By hand, as torch's variance over the classes takes four times as long on a CPU. Without the small
    # number the gradient of a pixel with equal logits is not finite.
    variance = centred.square().sum(1, keepdim=True) / (logits.shape[1] - 1) + EPSILON
    return centred * variance.rsqrt()


def standardised_pair_loss(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of standardised logits, with gradients into both.

    ``mean over pixels and classes of (n(z) - n(z'))^2``, see ``standardised``. Per pixel that is
    ``2 (K - 1) / K (1 - corr(z, z'))``: two views as a pair of positives, without negatives.

    Args:
        first, second: (B, K, H, W) logits of two views of the same pictures.

    Returns:
        0-d in [0, 4 (K - 1) / K].

    Source: Tian et al., DSSN, ACM Multimedia 2023. Used by: 057.
    """
    return (standardised(first) - standardised(second)).square().mean()


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    return values.sum() / valid.sum().clamp_min(1)
