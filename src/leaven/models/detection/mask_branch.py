"""The mask branch of Mask R-CNN, and what a predicted mask is worth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align


@dataclass(frozen=True, slots=True)
class MaskOutputs:
    """What the mask branch says of R regions.

    Attributes:
        logits: (R, K, M, M) float32, a mask within the region for each class.
        quality: (R,) float32 logits of the IoU of the mask with the truth, or None.
    """

    logits: Tensor
    quality: Tensor | None = None

    def of(self, classes: Tensor) -> Tensor:
        """(R, M, M) the logits of one class ``classes`` (R,) per region."""
        return self.logits[torch.arange(len(classes), device=classes.device), classes]


class MaskBranch(nn.Module):
    """Pooled features (R, C, s, s) to masks of 2s x 2s pixels within the regions.

    Convolutions, a transposed convolution that doubles the size, and a 1x1 convolution to K masks
    (He et al., 2017).

    Args:
        channels: C.
        width: channels of the convolutions.
        depth: how many of them.
        num_classes: K.
        quality: with one output for the IoU of the mask, from the mean over the last maps (005).
    """

    def __init__(
        self, channels: int, width: int, depth: int, num_classes: int, *, quality: bool = False
    ) -> None:
        super().__init__()
        self.hidden = MaskRCNNHeads(channels, (width,) * depth, 1)
        self.masks = MaskRCNNPredictor(width, width, num_classes)
        self.quality = nn.Linear(width, 1) if quality else None
        # He's start values would begin with masks that are certain of noise.
        for layer in (self.masks.mask_fcn_logits, self.quality):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.001)
                nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> MaskOutputs:
        hidden = self.hidden(pooled)
        quality = None
        if self.quality is not None:
            quality = self.quality(hidden.mean((2, 3)))[:, 0].float()
        return MaskOutputs(self.masks(hidden).float(), quality)


def cropped_masks(masks: Tensor, rows: Tensor, boxes: Tensor, side: int) -> Tensor:
    """The part of a mask that lies in a region, stretched to ``side`` pixels by RoIAlign.

    Args:
        masks: (m, H, W) bool or float.
        rows: (P,) int64, the mask of each region.
        boxes: (P, 4).

    Returns:
        (P, side, side) float32 in [0, 1].
    """
    if not len(masks):
        return boxes.new_zeros(len(boxes), side, side)
    rois = torch.cat([rows[:, None].to(boxes), boxes], 1)
    return roi_align(masks[:, None].to(boxes), rois, (side, side), 1.0)[:, 0]


def mask_loss(logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
    """``sum_i w_i mean_pixels BCE(logits_i, targets_i) / max(P, 1)``, with ``w_i = 1`` of None.

    Args:
        logits, targets: (P, M, M).
        weight: (P,) >= 0.

    Used by: Mask R-CNN, 005.
    """
    each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((1, 2))
    each = each if weight is None else each * weight
    return each.sum() / max(len(each), 1)


@torch.no_grad()
def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of the masks ``logits > 0`` with ``targets > 0.5``: (P, H, W) each to (P,); 0 where both
    are empty. Without gradient."""
    found, true = logits > 0, targets > 0.5
    union = (found | true).sum((1, 2))
    return (found & true).sum((1, 2)) / union.clamp_min(1)


def quality_loss(quality: Tensor, overlap: Tensor) -> Tensor:
    """``mean_i BCE(sigmoid(quality_i), overlap_i)``: how far the predicted quality (P,) (logits)
    is from the overlap (P,) in [0, 1] with the truth, which gets no gradient. 0 of no rows.

    Used by: 005.
    """
    each = F.binary_cross_entropy_with_logits(quality, overlap.detach(), reduction="none")
    return each.sum() / max(len(each), 1)
