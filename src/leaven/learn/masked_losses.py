"""Losses of a part of a picture, in a size that does not depend on how large the part is."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.labels.classes import UNKNOWN

MaskedLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A loss of logits, classes and a mask."""


def masked_loss(logits: Tensor, classes: Tensor, mask: Tensor) -> Tensor:
    """``(masked_cross_entropy + masked_dice) / 2`` of the pixels of a mask.

    A mixed picture has a loss for each of its parts: ``masked_loss(z, t, ~box) + weight *
    masked_loss(z, t, box)``, in which ``weight`` is the ratio of the two whatever their areas.

    Args:
        logits: (B, K, H, W); of volumes (B, K, H, W, L), and so on.
        classes: (B, H, W) int64, -1 where unknown.
        mask: (B, H, W) bool, or (1, H, W) for all samples.

    Returns:
        0-d; 0, with a gradient of 0, where no pixel of the mask is known.

    Source: Bai et al., BCP, CVPR 2023. Used by: 072.
    """
    return (masked_cross_entropy(logits, classes, mask) + masked_dice(logits, classes, mask)) / 2


def masked_loss_by_sample(logits: Tensor, classes: Tensor, mask: Tensor) -> Tensor:
    """``(masked_cross_entropy + masked_dice_by_sample) / 2``, as ``masked_loss`` for volumes.

    Args:
        logits, classes, mask: see ``masked_loss``.

    Source: Bai et al., BCP, CVPR 2023 (its code for volumes). Used by: 072.
    """
    dice = masked_dice_by_sample(logits, classes, mask)
    return (masked_cross_entropy(logits, classes, mask) + dice) / 2


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
    probs, truth = _seen(logits, classes, mask)
    dims = (0, *range(2, logits.ndim))
    both = (probs * truth).sum(dims)
    sizes = probs.square().sum(dims) + truth.sum(dims)
    return (1 - (2 * both + smooth) / (sizes + smooth)).mean()


def masked_dice_by_sample(
    logits: Tensor, classes: Tensor, mask: Tensor, smooth: float = 1e-5
) -> Tensor:
    """One less the overlap of what is said and what is so, in a mask, mean over samples and classes.

    ``1/(B K) sum_bk 1 - (2 sum_i m_i p_ik t_ik + s) / (sum_i m_i p_ik + sum_i m_i t_ik + s)`` over the
    places i of sample b: unlike ``masked_dice`` each sample counts alike, and probabilities are not
    squared.

    Args:
        logits, classes, mask: see ``masked_loss``.
        smooth: s, above 0.

    Returns:
        0-d in [0, 1]; 0 where no place of the mask is known.

    Source: Bai et al., BCP, CVPR 2023 (its code for volumes). Used by: 072.
    """
    probs, truth = _seen(logits, classes, mask)
    dims = tuple(range(2, logits.ndim))
    both = (probs * truth).sum(dims)
    sizes = probs.sum(dims) + truth.sum(dims)
    return (1 - (2 * both + smooth) / (sizes + smooth)).mean()


def _seen(logits: Tensor, classes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, K, ...) the softmax and the one-hot classes, 0 outside of the mask and where unknown."""
    seen = (mask & (classes != UNKNOWN))[:, None]
    probs = logits.float().softmax(1) * seen
    numbers = torch.arange(logits.shape[1], device=logits.device)
    numbers = numbers.view(-1, *[1] * (logits.ndim - 2))
    return probs, ((classes[:, None] == numbers) & seen).to(probs.dtype)
