"""A random part of the blocks of a grid, to be covered."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.data.transforms.colour_views import check_probability, check_range
from leaven.draws import Draws


def random_blocks(
    count: int, size: tuple[int, int], draws: Draws, block: int = 32, share: float = 0.7
) -> Tensor:
    """The pixels of random blocks of a grid.

    The grid has ``round(side / block)`` equal blocks along each side, at least one; each is chosen
    with probability ``share``.

    Args:
        count: B.
        size: height and width.
        draws: draws per sample.
        block: side of a block in pixels, about.
        share: in [0, 1].

    Returns:
        (B, H, W) bool on the device of ``draws``.

    Raises:
        ConfigError: a value out of its range.

    Source: Liu and Liu, CSL, ICCV 2025. Used by: 040.
    """
    check_range("block", block, block, 1, float("inf"))
    check_probability("share", share)
    rows, columns = (max(1, round(side / block)) for side in size)
    chosen = draws.flags(count, rows, columns, probability=share)
    down, right = (
        ((torch.arange(side, device=chosen.device) + 0.5) * cells / side).long()
        for side, cells in zip(size, (rows, columns), strict=True)
    )
    return chosen[:, down][:, :, right]
