"""Stochastic weight averaging as the offline and epoch-based methods of the family use it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from leaven.data import ImageSet, View
from leaven.train import Trainer, WeightAverage, refresh_batch_norm

_PICTURES = 8192
"""Enough to settle batch statistics, whatever the size of the training set."""
_BATCH = 512


def moments(progress: float, start: float, every: float) -> int:
    """How many of the moments ``start + every, start + 2 every, ...`` have passed at ``progress``."""
    # A moment that falls on a step is not to be missed by a rounding error.
    return max(0, math.floor((progress - start) / every + 1e-9))


def take_average(
    average: WeightAverage, model: nn.Module, progress: float, start: float, every: float
) -> None:
    """Takes ``model`` into ``average`` where one of the ``moments`` has passed since the last time.

    A run of fewer steps than moments takes every step.
    """
    if average.count < moments(progress, start, every):
        average.update(model)


def refresh_statistics(
    trainer: Trainer, model: nn.Module, images: ImageSet, view: View, index: Tensor | None = None
) -> None:
    """The batch statistics of averaged weights, over training pictures as the training sees them.

    Args:
        trainer: for draws, device and processes.
        model: the averaged weights.
        images: the training set.
        view: its augmentation.
        index: (m,) which items; all when None. Of more than 8192 a random part is used.
    """
    index = torch.arange(len(images)) if index is None else index.cpu()
    order = trainer.draws.permutation(len(index)).cpu()[:_PICTURES]
    parts = index[order].split(_BATCH)
    # The mean over batches gives all batches one weight, so a short last one is left out.
    whole = [part for part in parts if len(part) == len(parts[0])]
    batches = (view(images.pixels.batch(part).to(trainer.device), trainer.draws) for part in whole)
    refresh_batch_norm(model, batches)
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.copy_(trainer.mean(buffer))
