"""Trust in whole pictures: those of which a network has said the same for long."""

from __future__ import annotations

import torch
from torch import Tensor


def prediction_stability(earlier: Tensor, last: Tensor, num_classes: int) -> Tensor:
    """How well what a network said of pictures before agrees with what it says at last.

    ``s_i = 1/M sum_m mean over classes k in either map of |a_mk and z_k| / |a_mk or z_k|`` with
    ``a_mk`` the pixels of class k in the map of moment m and ``z_k`` those in the last one.

    Args:
        earlier: (M, B, H, W) int64 in 0..K-1, the classes at M >= 1 moments.
        last: (B, H, W), the same of the last moment; -1 for pixels that count nowhere.
        num_classes: K.

    Returns:
        (B,) float64 in [0, 1]; 1 where nothing has changed.

    Source: Yang et al., ST++, CVPR 2022. Used by: 086.
    """
    moments, count = len(earlier), len(last)
    pairs = earlier * num_classes + last
    # Each moment and picture counts in a confusion matrix of its own.
    owner = torch.arange(moments * count, device=last.device).view(moments, count, 1, 1)
    cells = num_classes * num_classes
    counted = (owner * cells + pairs)[:, last >= 0]
    counts = torch.bincount(counted.flatten(), minlength=moments * count * cells)
    table = counts.view(moments, count, num_classes, num_classes).double()
    both = table.diagonal(dim1=2, dim2=3)
    either = table.sum(2) + table.sum(3) - both
    return (both / either).nanmean(2).mean(0)
