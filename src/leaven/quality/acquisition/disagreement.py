"""Where rounds of one run, or several models, say different things."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from leaven.labels.boxes import BoxLabels
from leaven.labels.pixels import VOID
from leaven.quality.detection import match_boxes


def disagreement(several: Sequence[Tensor]) -> Tensor:
    """The Jensen-Shannon divergence of M distributions, as a share of the largest there can be.

    ``[H(mean_m p_m) - mean_m H(p_m)] / log min(M, K)``, with the entropy ``H``: what is learned
    about the label by being told which of the M is asked. It is 0 where all say the same, however
    unsure they are, and 1 where they are sure of different classes. They may be rounds of a run, or
    different models.

    Args:
        several: M >= 2 tensors (n, K) of probabilities of the same items; any further dimensions
            behind K are kept.

    Returns:
        (n,) in [0, 1], zeros of a single class.

    Raises:
        ValueError: fewer than two, or of different shapes.

    Source: McCallum and Nigam, "Employing EM and pool-based active learning for text
    classification", ICML 1998.
    """
    if len(several) < 2 or len({tuple(probs.shape) for probs in several}) != 1:
        raise ValueError(
            f"distributions of shapes {[tuple(p.shape) for p in several]} are compared"
        )
    members = torch.stack([probs.float() for probs in several])
    most = min(members.shape[0], members.shape[2])
    if most == 1:
        return torch.zeros_like(members[0, :, 0])
    divergence = _bits(members.mean(0), 1) - _bits(members, 2).mean(0)
    return (divergence / torch.tensor(float(most)).log()).clamp(0, 1)


def box_disagreement(ours: BoxLabels, others: BoxLabels, num_classes: int) -> Tensor:
    """``1 - 2 matched / (ours + others)`` for each picture: one less the F1 of one against the other.

    Boxes match one to one when they are of one class and overlap by an IoU of 0.5 or more. 0 where
    both find the same, or nothing; 1 where no box of one is a box of the other.

    Args:
        ours, others: boxes of the same n pictures.
        num_classes: K.

    Returns:
        (n,) float32 in [0, 1].
    """
    ours, others = ours.cpu(), others.cpu()
    both = torch.ones(len(ours), dtype=torch.bool)
    judge = BoxLabels(
        others.boxes, others.classes, others.confidence, others.weight, others.source,
        others.counts, both, torch.zeros_like(others.crowd), None,
    )  # fmt: skip
    matched = match_boxes(ours, judge, num_classes).right
    hits = torch.bincount(ours.pictures, matched.double(), minlength=len(ours))
    total = ours.counts + others.counts
    return torch.where(total > 0, 1 - 2 * hits / total.clamp_min(1), 0.0).float().clamp(0, 1)


def pixel_disagreement(ours: Tensor, others: Tensor) -> float:
    """The share of the pixels (H, W) of known class in both that are of different classes."""
    known = (ours != VOID) & (others != VOID)
    return float((ours != others)[known].float().mean()) if bool(known.any()) else 0.0


def _bits(probs: Tensor, dim: int) -> Tensor:
    return -torch.special.xlogy(probs, probs).sum(dim)
