"""Trust in pixels by how a picture falls in two groups: threshold-free, per picture."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-8


def residual_variance(probs: Tensor) -> tuple[Tensor, Tensor]:
    """How confident a pixel is, and how uneven the probabilities beside the largest are.

    ``c = max_k p_k``; with ``p'`` the probabilities, the largest set to 0, and
    ``m = sum_k p'_k / (K - 1)``: ``r = 1 / (K - 1) sum_k (p'_k - m)^2`` over all K places. The zeroed
    one counts too, so r is the variance of the rest plus ``m^2 / (K - 1)``. A small r means one
    clear winner, a large one a strong rival.

    Args:
        probs: (B, K, H, W), K >= 2.

    Returns:
        c and r, (B, H, W) each; c in [1 / K, 1], r in [0, 1].

    Source: Liu and Liu, CSL, ICCV 2025. Used by: 040.
    """
    others = probs.shape[1] - 1
    confidence, best = probs.max(1, keepdim=True)
    rest = probs.scatter(1, best, 0.0)
    spread = (rest - rest.sum(1, keepdim=True) / others).square().sum(1) / others
    return confidence.squeeze(1), spread


def spectral_groups(features: Tensor, valid: Tensor) -> Tensor:
    """Splits the rows of each sample in two groups by the singular vectors of their matrix.

    With X (n, F = 2) the valid rows, neither centred nor scaled, and ``X^T = U S V^T`` its thin
    singular value decomposition, the largest value first: row i is in the second group when
    ``|V_i2| > |V_i1|``. It is the relaxed solution of the best split into two groups by the traces
    within them. Where X has one direction only, all rows are in the first group.

    V is read off the eigenvectors of the 2x2 matrix ``X^T X``: ``V = X U S^-1``.

    Args:
        features: (B, n, 2).
        valid: (B, n) bool, the rows that exist.

    Returns:
        (B, n) bool, true for the second group; rows that do not exist are in the first.

    Source: Liu and Liu, CSL, ICCV 2025. Used by: 040.
    """
    wide = torch.float32 if features.device.type == "mps" else torch.float64
    rows = features.to(wide) * valid[..., None]
    gram = rows.transpose(1, 2) @ rows
    # The main axis of a symmetric 2x2 matrix, in closed form.
    angle = torch.atan2(2 * gram[:, 0, 1], gram[:, 0, 0] - gram[:, 1, 1]) / 2
    cosine, sine = angle.cos(), angle.sin()
    axes = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 2)
    along = rows @ axes
    length = along.square().sum(1, keepdim=True).sqrt()
    limits = torch.finfo(wide)
    exists = length > limits.eps * rows.shape[1] ** 0.5 * length[..., :1]
    first, second = (along.abs() / length.clamp_min(limits.tiny) * exists).unbind(2)
    return (second > first) & valid


def spectral_weight(probs: Tensor, valid: Tensor, spread: float = 8.0) -> Tensor:
    """The trust of confidence separable learning (CSL) in each pixel.

    Per picture the pixels are split by ``spectral_groups`` of (c, r), see ``residual_variance``. The
    reliable group is that of the larger mean c; with its means ``mu`` and unbiased variances ``v``::

        z_c = (c - mu_c) / sqrt(v_c + 1e-8)      z_r = (mu_r - r) / sqrt(v_r + 1e-8)
        w   = 1                                  where z_c > 0 or z_r > 0
        w   = exp(-z_c^2 / a) exp(-z_r^2 / a)    elsewhere
        w   = 0                                  where no picture is shown

    Nothing is dropped: below the centre of the reliable group the trust falls off like a bell.

    Args:
        probs: (B, K, H, W), K >= 2.
        valid: (B, H, W) bool, the pixels that show a picture.
        spread: a, above 0.

    Returns:
        (B, H, W) weights in [0, 1].

    Raises:
        ValueError: a spread of 0 or less.

    Source: Liu and Liu, CSL, ICCV 2025, https://github.com/PanLiuCSU/CSL. Used by: 040.
    """
    if spread <= 0:
        raise ValueError(f"the spread is {spread}; above 0 is needed")
    features = torch.stack(residual_variance(probs.detach().float()), 3).flatten(1, 2)
    mean, variance = _reliable(features, valid.flatten(1))
    direction = features.new_tensor([1.0, -1.0])
    score = direction * (features - mean) / (variance + EPSILON).sqrt()
    bell = torch.exp(-score.square().sum(2) / spread)
    weight = torch.where((score > 0).any(2), 1.0, bell)
    return weight.view(valid.shape) * valid


def _reliable(features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (B, 1, 2) of the group with the larger mean of the first feature."""
    second = spectral_groups(features, valid)
    member = torch.stack([valid & ~second, second], 1).to(features.dtype)
    count = member.sum(2)[..., None]
    mean = member @ features / count.clamp_min(1)
    squares = (features[:, None] - mean[:, :, None]).square()
    variance = (squares * member[..., None]).sum(2) / (count - 1).clamp_min(1)
    best = mean[..., 0].argmax(1)[:, None, None].expand(-1, 1, 2)
    empty = ~valid.any(1)[:, None, None]
    nothing = features.new_tensor([1.0, 0.0])
    return (
        torch.where(empty, nothing, mean.gather(1, best)),
        torch.where(empty, 1.0, variance.gather(1, best)),
    )
