"""Two views of one proposal, over classes and over labelled items, that correct each other."""

from __future__ import annotations

import torch
from torch import Tensor


def unfold(class_probs: Tensor, instance_probs: Tensor, classes: Tensor) -> Tensor:
    """Corrects a distribution over labelled items by one over classes.

    ``qhat_ij = normalise_j( q_ij * p_i,c(j) )``, ``c(j)`` the class of labelled item j.

    Args:
        class_probs: (B, K), ``p``.
        instance_probs: (B, n), ``q``, rows that sum to 1.
        classes: (n,) int64 in 0 ... K - 1.

    Returns:
        (B, n), rows that sum to 1; a row for which no item has mass in both is all zeros.

    Source: Zheng et al., SimMatch, CVPR 2022. Used by: 077.
    """
    joint = _wide(instance_probs) * class_probs[:, classes]
    total = joint.sum(1, keepdim=True)
    return joint / torch.where(total > 0, total, 1)


def aggregate(instance_probs: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """Turns a distribution over labelled items into one over classes: a soft neighbour vote.

    ``q_agg_ik = sum_{j: c(j) = k} q_ij``. To be given the distribution as the memory says it, not
    the one from ``unfold``, which the class distribution has entered already.

    Args:
        instance_probs: (B, n), rows that sum to 1.
        classes: (n,) int64 in 0 ... num_classes - 1.
        num_classes: K.

    Returns:
        (B, K), rows that sum to 1; 0 for classes without a labelled item.

    Source: Zheng et al., SimMatch, CVPR 2022. Used by: 077.
    """
    instance_probs = _wide(instance_probs)
    empty = instance_probs.new_zeros(len(instance_probs), num_classes)
    return empty.index_add(1, classes, instance_probs)


def blend(class_probs: Tensor, aggregated: Tensor, share: float) -> Tensor:
    """The class distribution, smoothed by that of the neighbours.

    ``share * class_probs + (1 - share) * aggregated``

    Args:
        class_probs, aggregated: (B, K), rows that sum to 1.
        share: in [0, 1]; 1 leaves the class distribution as it is.

    Returns:
        (B, K), rows that sum to 1.

    Raises:
        ValueError: a share outside [0, 1].

    Source: Zheng et al., SimMatch, CVPR 2022. Used by: 077.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share is in [0, 1], not {share}")
    return share * class_probs + (1 - share) * aggregated


def _wide(probs: Tensor) -> Tensor:
    return probs.to(torch.promote_types(probs.dtype, torch.float32))
