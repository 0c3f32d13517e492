"""Predictions spread along a map of which pixels belong together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.draws import Draws


def spread_by_correlation(logits: Tensor, correlation: Tensor) -> Tensor:
    """What each position receives from all others: ``z'_kj = sum_i z_ki A_ij``.

    The rows of A sum to 1, so that ``sum_j z'_kj = sum_i z_ki``. The logits are taken as constant:
    the gradient goes into the correlation alone.

    Args:
        logits: (B, K, h, w).
        correlation: A, (B, h w, h w).

    Returns:
        (B, K, h, w).

    Source: Sun et al., CorrMatch, CVPR 2024. Used by: 087.
    """
    return (logits.detach().flatten(2) @ correlation).view_as(logits)


def regions_of_rows(
    correlation: Tensor, shape: tuple[int, int], size: tuple[int, int], draws: Draws, count: int
) -> Tensor:
    """Regions without a class: the positions that go with some that are drawn.

    ``count`` rows of the correlation are drawn with replacement for each picture, made as large as
    the picture (bilinear, aligned corners), brought to [0, 1] by their own least and largest value
    and cut at 1/2. A row without a difference has an empty region.

    Args:
        correlation: (B, h w, h w); taken as constant.
        shape: h and w.
        size: height and width of the pictures.
        draws: draws per sample.
        count: M, regions per picture, at least 1.

    Returns:
        (B, M, *size) bool.

    Source: Sun et al., CorrMatch, CVPR 2024. Used by: 087.
    """
    batch, positions, _ = correlation.shape
    index = draws.integers(batch, count, high=positions).to(correlation.device)
    rows = correlation.detach().gather(1, index[..., None].expand(-1, -1, positions))
    maps = rows.float().view(batch, count, *shape)
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=True)
    least, largest = maps.flatten(2).aminmax(dim=2)
    # Above the middle of least and largest: the same as above 1/2 of [0, 1], without a division.
    middle = torch.lerp(least, largest, 0.5)
    # Interpolating equal numbers gives numbers that differ in their last bits.
    flat = largest - least <= 16 * torch.finfo(maps.dtype).eps * largest
    return (maps > middle[..., None, None]) & ~flat[..., None, None]
