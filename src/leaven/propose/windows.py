"""What a model says of pictures or volumes that it sees through windows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import EllipsisType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.propose.predict import modes_kept

Index = tuple[EllipsisType | slice, ...]


def predict_windows(
    model: nn.Module, images: Tensor, window: Sequence[int], stride: Sequence[int]
) -> Tensor:
    """The class distributions of pictures or volumes of any size: eval mode, no gradient.

    ``p_i = mean over the windows w with i in w of softmax(model(x_w))_i``. Windows begin at multiples
    of the stride along each axis, the last one flush with the border. What is smaller than the window
    is padded with zeros on both sides, by one more at the end.

    Args:
        model: (B, C, *window) -> logits (B, K, *window).
        images: (B, C, *S) with n axes S, such as (H, W) or (H, W, L).
        window: n sides, each at least 1.
        stride: n steps, from 1 to the side of the window, so that no place is left out.

    Returns:
        (B, K, *S) float32.

    Raises:
        ValueError: a window or a stride of another number of axes or out of its range.

    Source: Bai et al., BCP, CVPR 2023 (112x112x80, stride 18x18x4). Used by: 072.
    """
    axes = images.ndim - 2
    if len(window) != axes or len(stride) != axes:
        raise ValueError(
            f"pictures of {axes} axes need as many sides and steps, not {window}, {stride}"
        )
    if not all(1 <= step <= side for step, side in zip(stride, window, strict=True)):
        raise ValueError(f"steps are from 1 to the side of the window, not {stride} of {window}")
    missing = [max(0, side - s) for side, s in zip(window, images.shape[2:], strict=True)]
    # The last axis comes first.
    margins = [part for gap in reversed(missing) for part in (gap // 2, gap - gap // 2)]
    padded = F.pad(images, margins)
    with modes_kept(model), torch.no_grad():
        model.eval()
        probs = _mean_over_windows(model, padded, window, stride)
    kept = zip(missing, images.shape[2:], strict=True)
    inner: Index = (..., *(slice(gap // 2, gap // 2 + side) for gap, side in kept))
    return probs[inner]


def _mean_over_windows(
    model: nn.Module, images: Tensor, window: Sequence[int], stride: Sequence[int]
) -> Tensor:
    size = images.shape[2:]
    total: Tensor | None = None
    seen = torch.zeros(size, device=images.device)
    starts = [_starts(*along) for along in zip(size, window, stride, strict=True)]
    for corner in itertools.product(*starts):
        sides = zip(corner, window, strict=True)
        place: Index = (..., *(slice(low, low + side) for low, side in sides))
        probs = model(images[place]).softmax(1, dtype=torch.float32)
        if total is None:
            total = probs.new_zeros(*probs.shape[:2], *size)
        total[place] += probs
        seen[place] += 1
    assert total is not None
    return total / seen


def _starts(side: int, window: int, step: int) -> list[int]:
    """Where windows begin along an axis."""
    return [*range(0, side - window, step), side - window]
