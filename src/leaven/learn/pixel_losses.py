"""Cross entropy per pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.labels.classes import UNKNOWN


def pixel_cross_entropy(
    logits: Tensor, classes: Tensor, weight: Tensor | None = None, valid: Tensor | None = None
) -> Tensor:
    """``sum_i w_i CE(z_i, y_i) / n`` over the pixels i whose class is known.

    Args:
        logits: (B, K, H, W).
        classes: (B, H, W) int64, -1 where unknown.
        weight: (B, H, W) >= 0, the trust in each class; 1 when None.
        valid: (B, H, W) bool, the pixels that n counts, for example all that show a picture; those
            of known class when None.

    Returns:
        0-d; 0, with a gradient of 0, where no class is known.

    Used by: 025, 040, 054, 057, 086, 087, 093, 117.
    """
    losses = F.cross_entropy(logits.float(), classes, ignore_index=UNKNOWN, reduction="none")
    count = (classes != UNKNOWN) if valid is None else valid
    if weight is not None:
        losses = losses * weight
    return losses.sum() / count.sum().clamp_min(1)


def hard_pixel_cross_entropy(
    logits: Tensor, classes: Tensor, threshold: float = 0.7, least: int = 100_000
) -> Tensor:
    """The mean cross entropy of the hard pixels (online hard example mining).

    Hard are the known pixels whose class has a probability of at most ``threshold``; where they are
    fewer than ``least``, the ``least`` of smallest probability; where fewer are known, all of them.

    Args:
        logits: (B, K, H, W).
        classes: (B, H, W) int64, -1 where unknown.
        threshold: in (0, 1].
        least: pixels.

    Returns:
        0-d; 0, with a gradient of 0, where no class is known.

    Source: Shrivastava et al., CVPR 2016; for pixels, as in the code of CPS and U2PL on Cityscapes.
    Used by: 025, 040, 054, 057, 087, 117; any method for label maps with ``hard_pixels``.
    """
    losses = F.cross_entropy(logits.float(), classes, ignore_index=UNKNOWN, reduction="none")
    known = classes != UNKNOWN
    right = torch.where(known, (-losses.detach()).exp(), torch.inf).flatten()
    limit = right.new_tensor(threshold)
    if least > 0:
        limit = torch.maximum(limit, right.kthvalue(min(least, len(right))).values)
    hard = known & (right.view_as(losses) <= limit)
    return (losses * hard).sum() / hard.sum().clamp_min(1)
