"""Each true mask is given to one of the masks that a network proposes: Hungarian matching."""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA, GAMMA = 0.25, 2
"""Of the focal loss."""

_LARGEST = 1e6


@torch.no_grad()
def mask_matching_cost(
    logits: Tensor,
    masks: Tensor,
    classes: Tensor,
    true: Tensor,
    *,
    focal: float = 2.0,
    dice: float = 4.0,
    cross: float = 1.0,
) -> Tensor:
    """What it costs to say that proposal ``n`` is thing ``g``, as in K-Net.

    ``cost = focal (F+ - F-) - dice D - cross A`` with, for ``s = sigmoid(logit)`` of the class of the
    thing and ``p`` the mask in [0, 1] of the proposal::

        F+ = -a (1 - s)^2 log s,  F- = -(1 - a) s^2 log(1 - s),  a = 1/4
        D  = 2 sum(p y) / (sum(p^2) + sum(y^2) + 2e-3)
        A  = (sum(p y) + sum((1 - p)(1 - y))) / (H W)

    Args:
        logits: (N, K), of the sigmoid of each class.
        masks: (N, H, W) logits of the masks of the proposals.
        classes: (G,) int64.
        true: (G, H, W) in [0, 1].

    Returns:
        (N, G), finite.

    Source: Zhang et al., K-Net: Towards unified image segmentation, NeurIPS 2021. Used by: 005.
    """
    scores = logits.float().sigmoid()
    positive = -ALPHA * (1 - scores) ** GAMMA * (scores + 1e-12).log()
    negative = -(1 - ALPHA) * scores**GAMMA * (1 - scores + 1e-12).log()
    said, wanted = masks.float().sigmoid().flatten(1), true.float().flatten(1)
    shared = said @ wanted.T
    squares = said.square().sum(1)[:, None] + wanted.square().sum(1) + 2e-3
    # sum (1 - p)(1 - y) = H W - sum p - sum y + sum p y
    agreed = 2 * shared + said.shape[1] - said.sum(1)[:, None] - wanted.sum(1)
    cost = (
        focal * (positive - negative)[:, classes]
        - dice * 2 * shared / squares
        - cross * agreed / max(1, said.shape[1])
    )
    return cost.nan_to_num(_LARGEST, _LARGEST, -_LARGEST)


def one_to_one(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of least total ``cost`` (N, G), each row and each column in one pair at most.

    Computed on the CPU.

    Returns:
        two (min(N, G),) int64: rows, rising, and their columns.

    Used by: 005.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    return (
        torch.as_tensor(rows, dtype=torch.int64, device=cost.device),
        torch.as_tensor(columns, dtype=torch.int64, device=cost.device),
    )
