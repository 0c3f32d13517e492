"""A class for each item by the nearest of the classes' own mean features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def prototype_labels(features: Tensor, probs: Tensor, rounds: int = 1, least: int = 0) -> Tensor:
    """The class whose prototype is nearest, where prototypes are means over these very items.

    With ``g_i`` the features and a constant 1 behind them, scaled to length 1::

        c_k = sum_i p_ik g_i / sum_i p_ik                  weighted by what the model says
        y_i = argmax_k cos(g_i, c_k)
        c_k = mean of g_i with y_i = k;  y_i as before     ``rounds`` times

    Only classes that the model says of more than ``least`` items take part (most probable class);
    where none does, all do. A class that no item is left to keeps the prototype it had.

    Args:
        features: (n, D).
        probs: (n, K) rows that sum to 1.
        rounds: how often prototypes are made again from the labels, >= 0.
        least: >= 0.

    Returns:
        (n,) int64 classes.

    Raises:
        ValueError: no class, or a number out of its range.

    Source: Liang et al., SHOT, ICML 2020 (the constant is that of its code). Used by: SHOT, 023.
    """
    if probs.shape[1] < 1 or rounds < 0 or least < 0:
        raise ValueError(
            f"classes, rounds >= 0 and least >= 0 are needed, not {probs.shape[1]}, {rounds}, {least}"
        )
    count = probs.shape[1]
    wide = torch.promote_types(features.dtype, torch.float32)
    rows = F.pad(features.to(wide), (0, 1), value=1.0)
    rows = F.normalize(rows, dim=1)
    said = torch.bincount(probs.argmax(1), minlength=count)
    there = said > least
    there = there | ~there.any()

    def nearest(prototypes: Tensor) -> Tensor:
        cosine = rows @ F.normalize(prototypes, dim=1).t()
        return cosine.masked_fill(~there, -torch.inf).argmax(1)

    prototypes = _means(rows, probs.to(wide))
    labels = nearest(prototypes)
    for _ in range(rounds):
        among = F.one_hot(labels, count).to(wide)
        kept = among.sum(0)[:, None] > 0
        prototypes = torch.where(kept, _means(rows, among), prototypes)
        labels = nearest(prototypes)
    return labels


def _means(rows: Tensor, share: Tensor) -> Tensor:
    """(K, D), the mean of ``rows`` (n, D) weighted by each column of ``share`` (n, K)."""
    least = torch.finfo(share.dtype).tiny
    return share.t() @ rows / share.sum(0).clamp_min(least)[:, None]
