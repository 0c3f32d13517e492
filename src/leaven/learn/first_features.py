"""Features stay near those of another encoder where things are seen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.labels.classes import UNKNOWN


def patch_classes(classes: Tensor, size: tuple[int, int], count: int, least: float) -> Tensor:
    """The class that fills a patch, for each place of a coarse map.

    Args:
        classes: (B, H, W) int64, -1 where unknown.
        size: (h, w) of the coarse map; a place stands for the patch of pixels that it covers.
        count: K.
        least: the share of all pixels of the patch that the class must have, in (0, 1].

    Returns:
        (B, h, w) int64, -1 where no class has so many.
    """
    known = F.one_hot(classes.clamp_min(0), count).permute(0, 3, 1, 2).float()
    known = known * (classes != UNKNOWN)[:, None]
    share, found = F.adaptive_avg_pool2d(known, size).max(1)
    return torch.where(share >= least, found, UNKNOWN)


def masked_feature_distance(features: Tensor, others: Tensor, mask: Tensor) -> Tensor:
    """``sum over places of m |f - g|_2 / sum of m``: the mean Euclidean distance of two maps.

    Args:
        features, others: (B, D, h, w), ``f`` and ``g``; where they are equal the gradient is 0.
        mask: (B, h, w) bool, ``m``.

    Returns:
        0-d; 0, with a gradient of 0, for an empty mask.

    Source: Hoyer et al., DAFormer, CVPR 2022 (the distance to features of ImageNet, of patches that
    a thing fills). Used by: 093.
    """
    distance = torch.linalg.vector_norm(features.float() - others.float(), dim=1)
    return (distance * mask).sum() / mask.sum().clamp_min(1)
