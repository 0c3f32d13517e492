"""What the pictures of a job are like, channel by channel."""

from __future__ import annotations

import torch

from leaven.data import ImageSet
from leaven.data.dataset import T


def channel_statistics(images: ImageSet[T]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of up to 2048 evenly spaced pictures, in [0, 1].

    Of feature rows, per column; a column that hardly differs is not blown up: the spread is at
    least a thousandth of the largest one.
    """
    count = min(len(images), 2048)
    index = torch.linspace(0, len(images) - 1, count).long()
    pixels = images.pixels.batch(index).float()
    if pixels.ndim == 2:
        std, mean = torch.std_mean(pixels, dim=0, correction=0)
        least = float(std.max()) / 1000 or 1.0
        return tuple(mean.tolist()), tuple(std.clamp_min(least).tolist())
    pixels.div_(255)
    std, mean = torch.std_mean(pixels, dim=(0, 2, 3))
    return tuple(mean.tolist()), tuple(std.clamp_min(1e-3).tolist())
