"""Losses of a part of a picture, in a size that does not depend on how large the part is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.labels.classes import UNKNOWN


def masked_loss(logits: Tensor, classes: Tensor, mask: Tensor) -> Tensor:
    """``(masked_cross_entropy + masked_dice) / 2`` of the pixels of a mask.

    A mixed picture has a loss for each of its parts: ``masked_loss(z, t, ~box) + weight *
    masked_loss(z, t, box)``, in which ``weight`` is the ratio of the two whatever their areas.

    Args:
        logits: (B, K, H, W).
        classes: (B, H, W) int64, -1 where unknown.
        mask: (B, H, W) bool, or (1, H, W) for all samples.

    Returns:
        0-d; 0, with a gradient of 0, where no pixel of the mask is known.

    Source: Bai et al., BCP, CVPR 2023. Used by: 072.
    """
    return (masked_cross_entropy(logits, classes, mask) + masked_dice(logits, classes, mask)) / 2


def masked_cross_entropy(logits: Tensor, classes: Tensor, mask: Tensor) -> Tensor:
    """``sum_i m_i CE(z_i, y_i) / sum_i m_i``, m the known pixels of a mask.

    Args:
        logits, classes, mask: see ``masked_loss``.

    Returns:
        0-d; 0 where no pixel of the mask is known.
    """
    losses = F.cross_entropy(logits.float(), classes, ignore_index=UNKNOWN, reduction="none")
    seen = mask & (classes != UNKNOWN)
    return (losses * seen).sum() / seen.sum().clamp_min(1)


def masked_dice(logits: Tensor, classes: Tensor, mask: Tensor, smooth: float = 1e-10) -> Tensor:
    """One less the overlap of what is said and what is so, in a mask, mean over all classes.

    ``1/K sum_k 1 - (2 sum_i m_i p_ik t_ik + s) / (sum_i m_i p_ik^2 + sum_i m_i t_ik + s)`` over all
    pixels i of the batch, with p the softmax, t the one-hot classes and m the known pixels of the
    mask.

    Args:
        logits, classes, mask: see ``masked_loss``.
        smooth: s, above 0.

    Returns:
        0-d in [0, 1]; 0 where no pixel of the mask is known.

    Source: Milletari et al., V-Net, 3DV 2016; with the mask as in Bai et al., BCP, CVPR 2023.
    """
    seen = (mask & (classes != UNKNOWN))[:, None]
    probs = logits.float().softmax(1) * seen
    numbers = torch.arange(logits.shape[1], device=logits.device)
    truth = ((classes[:, None] == numbers[:, None, None]) & seen).to(probs.dtype)
    dims = (0, 2, 3)
    both = (probs * truth).sum(dims)
    sizes = probs.square().sum(dims) + truth.sum(dims)
    return (1 - (2 * both + smooth) / (sizes + smooth)).mean()
