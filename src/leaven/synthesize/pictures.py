"""Made pictures: a sheet of many for people to see."""

from __future__ import annotations

import torch
from torch import Tensor


def picture_grid(pictures: Tensor, classes: Tensor, columns: int = 10) -> Tensor:
    """The first ``columns`` pictures of each class side by side, a row per class.

    Args:
        pictures: (n, C, H, W).
        classes: (n,) int64.
        columns: pictures per row, at least 1; places of missing ones are 0.

    Returns:
        (C, rows * H, columns * W) in the dtype of the pictures, a row for each class there is.
    """
    channels, height, width = pictures.shape[1:]
    rows = []
    for number in classes.unique().tolist():
        some = pictures[classes == number][:columns]
        row = pictures.new_zeros(columns, channels, height, width)
        row[: len(some)] = some
        rows.append(row.permute(1, 2, 0, 3).reshape(channels, height, columns * width))
    return torch.cat(rows, 1) if rows else pictures.new_zeros(channels, 0, columns * width)
