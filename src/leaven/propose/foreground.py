"""Foreground by a threshold, where there are two classes."""

from __future__ import annotations

from torch import Tensor

FOREGROUND = 1


def foreground(logits: Tensor, threshold: float = 0.5) -> Tensor:
    """``[softmax(z)_1 >= threshold]``: the class 1 where it is probable enough, else 0.

    Args:
        logits: (B, 2, *S), of pictures or volumes.
        threshold: in [0, 1].

    Returns:
        (B, *S) int64.

    Raises:
        ValueError: another number of classes.

    Source: Bai et al., BCP, CVPR 2023 (volumes). Used by: 072.
    """
    if logits.shape[1] != 2:
        raise ValueError(f"foreground and background are 2 classes, not {logits.shape[1]}")
    return (logits.float().softmax(1)[:, FOREGROUND] >= threshold).long()
