"""Cross entropy of the regions of a detector, with weights per region or a focus on hard ones."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def region_cross_entropy(
    logits: Tensor, classes: Tensor, weight: Tensor | None = None, focus: float = 0.0
) -> Tensor:
    """``sum_j w_j (1 - p_j)^focus CE_j / max(n, 1)`` over the n regions that have a class.

    ``p_j`` is the probability of the class of region j. A weight multiplies a loss and is not
    counted in n; see ``TwoStage.roi_class_loss`` for a weighted mean.

    Args:
        logits: (R, K + 1), the background last.
        classes: (R,) int64, K for the background, -1 for no loss.
        weight: (R,) >= 0, without gradient; 1 when None.
        focus: gamma >= 0 of the focal loss; 0 is plain cross entropy.

    Returns:
        0-d; 0, with a gradient of 0, where no region has a class.

    Sources: the focal loss of Lin et al., ICCV 2017, in the many-class form of Unbiased Teacher,
    ICLR 2021, with focus 1.5. Used by: Unbiased Teacher, 020.
    """
    known = classes >= 0
    each = F.cross_entropy(logits.float(), classes.clamp_min(0), reduction="none") * known
    if focus:
        # Rounding makes p exceed 1 by a bit, of which a broken power is not a number.
        each = (1 - (-each).exp()).clamp_min(0) ** focus * each
    if weight is not None:
        each = each * weight.detach()
    return each.sum() / known.sum().clamp_min(1)
