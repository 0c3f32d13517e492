"""Two views of one thing are alike, those of different things are not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def instance_contrast(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    """``-mean_i log( exp(z_i z_i' / t) / sum_{j != i} exp(z_i z_j / t) )`` over all 2 n views (NT-Xent).

    ``z`` are the rows of both arguments at length 1 and ``z_i'`` the other view of the thing of
    ``z_i``; the sum is over all other views of the batch.

    Args:
        first, second: (n, D) projections of two views of n >= 1 things, in the same order.
        temperature: t > 0.

    Returns:
        0-d; 0 of one thing.

    Raises:
        ValueError: the shapes differ, there is no row, or a temperature of 0 or less.

    Source: Chen et al., SimCLR, ICML 2020. Used by: 034.
    """
    if first.shape != second.shape or not len(first) or temperature <= 0:
        raise ValueError(
            f"views {tuple(first.shape)} and {tuple(second.shape)} at temperature {temperature}"
        )
    rows = F.normalize(torch.cat([first, second]).float(), dim=1)
    alike = rows @ rows.T / temperature
    alike = alike.masked_fill(
        torch.eye(len(rows), dtype=torch.bool, device=rows.device), -torch.inf
    )
    partner = torch.arange(len(rows), device=rows.device).roll(len(first))
    return F.cross_entropy(alike, partner)
