"""What boxes, masks and pixels say of whole pictures, which are what people label."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from leaven.labels.boxes import BoxLabels

Aggregate = Literal["sum", "mean", "max"]


def per_picture(values: Tensor, labels: BoxLabels, how: Aggregate = "sum") -> Tensor:
    """Values of boxes (m,) as one of each picture (n,); 0 of a picture without boxes.

    The sum prefers pictures with many doubtful things, and is what found most in the comparison of
    the three on driving scenes and VOC (Brust et al.); the mean and the maximum do not depend on how
    many things there are. A person who labels a picture labels all of it, so that the sum is also
    what a picture teaches; where labelling is paid by the box, the mean is the fair one.

    Source: Brust, Käding and Denzler, "Active learning for deep object detection", VISAPP 2019.
    """
    pictures = labels.pictures
    made = values.new_zeros(len(labels))
    if how == "max":
        return made.scatter_reduce(0, pictures, values, "amax", include_self=False)
    made = made.index_add(0, pictures, values)
    return made if how == "sum" else made / labels.counts.clamp_min(1)


def box_uncertainty(confidence: Tensor, kind: str) -> Tensor:
    """How unsure it is that a box is right (m,), from its score alone: it is, or it is not.

    Args:
        confidence: (m,) scores in [0, 1].
        kind: ``"margin"``, ``1 - |2 c - 1|``; ``"entropy"``, of the two chances in bits; or
            ``"least-confidence"``, ``2 (1 - max(c, 1 - c))``, which is the same as the margin.

    Returns:
        (m,) in [0, 1], 1 at a score of 0.5.

    Source: as ``per_picture``; there the margin is between the two likeliest classes of a box.
    """
    c = confidence.float()
    if kind == "entropy":
        both = torch.stack([c, 1 - c])
        return -torch.special.xlogy(both, both).sum(0) / torch.tensor(2.0).log()
    return 1 - (2 * c - 1).abs()


def pixel_mean(values: Tensor) -> Tensor:
    """The mean (n,) of values of pixels (n, H, W).

    All pictures of a run have one size, so that the sum gives the same order.

    Source: the mean entropy of the pixels of a region, as in Mackowiak et al., "CEREALS",
    BMVC 2018.
    """
    return values.float().mean((1, 2))
