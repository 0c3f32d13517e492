"""Parts of the labelled items, so that each is judged by what has not learnt from it."""

from __future__ import annotations

import torch
from torch import Tensor


def fold_numbers(strata: Tensor, groups: Tensor, folds: int, seed: int) -> Tensor:
    """(n,) int64 in 0..folds-1: the fold that each item is held out in.

    Items of a group - the same picture twice - share a fold, else a model would be asked about a
    picture it has learnt from. Groups of one stratum (the class of their first item) are shuffled
    and dealt out one after the other, so that every fold has its share of every class and the
    folds differ by few items. A group of more than half a fold would leave no folds; its items are
    dealt out by themselves.

    Args:
        strata: (n,) int64, for example the classes.
        groups: (n,) int64, equal for items that belong together.
        folds: at least 2.
        seed: of the shuffling.

    Raises:
        ValueError: fewer than 2 folds, or fewer items than folds.
    """
    count = len(strata)
    if folds < 2 or count < folds:
        raise ValueError(f"{folds} folds of {count} items")
    _, own = groups.unique(return_inverse=True)
    sizes = torch.bincount(own)
    large = sizes[own] > max(1, count // (2 * folds))
    own = torch.where(large, len(sizes) + torch.arange(count), own)
    _, own = own.unique(return_inverse=True)
    total = int(own.max()) + 1
    first = torch.full((total,), count).scatter_reduce(0, own, torch.arange(count), "amin")
    shuffled = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    order = shuffled[strata[first][shuffled].argsort(stable=True)]
    fold = torch.empty(total, dtype=torch.int64)
    fold[order] = torch.arange(total) % folds
    return fold[own]
