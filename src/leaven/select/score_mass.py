"""As many boxes of a picture as its scores promise."""

from __future__ import annotations

import torch
from torch import Tensor


def within_score_mass(scores: Tensor, pictures: Tensor, count: int) -> Tensor:
    """Keeps about as many boxes of each picture as the sum of its scores says there are things.

    With the scores of a picture in falling order, counted from 0, and
    ``n = min(floor(sum_j s_j + 1/2), boxes - 1)``: those with ``s > s_(n) - 1e-5``, that is the
    first n + 1 and what is level with the last of them.

    Args:
        scores: (m,) in [0, 1], in any order.
        pictures: (m,) int64, the picture of each.
        count: number of pictures.

    Returns:
        (m,) bool.

    Source: Wang et al., Consistent-Teacher, CVPR 2023 (official code). Used by: 119.
    """
    boxes = torch.bincount(pictures, minlength=count)
    mass = torch.zeros(count, dtype=torch.float64, device=scores.device)
    mass.index_add_(0, pictures, scores.double())
    place = torch.minimum((mass + 0.5).floor().long(), boxes - 1)
    order = scores.argsort(descending=True, stable=True)
    order = order[pictures[order].argsort(stable=True)]
    starts = boxes.cumsum(0) - boxes
    last = scores[order][(starts + place)[pictures]]
    return scores > last - 1e-5
