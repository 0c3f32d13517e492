"""What a model says of every pixel of a whole set of pictures, a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leaven.propose.predict import Pictures, device_of, modes_kept

STRIDE = 2 / 3
"""How far a window moves, as a share of its size."""


def predict_maps(
    model: nn.Module,
    pixels: Pictures,
    batch_size: int = 8,
    *,
    window: tuple[int, int] | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> Iterator[Tensor]:
    """The class distribution of every pixel: eval mode, no gradient, one batch of pictures at once.

    ``p_i = softmax(model(x_i))`` over the classes; with several scales or flips the mean over them,
    each brought back to the picture. Every submodule is in its former mode whenever a batch is
    handed out, so that the caller may stop, or train, between two.

    Args:
        model: pictures (b, C, H, W), uint8 or float in [0, 1] -> logits (b, K, H, W).
        pixels: n pictures.
        batch_size: pictures at once, >= 1.
        window: (h, w); a larger picture is seen through windows of this size that move by 2/3 of
            it, the last one flush with the border. Where they overlap their mean counts.
        scales: of height and width, each above 0; pictures are resized bilinearly, the
            distributions back.
        flip: also the mirror image, with the mean of the two.

    Yields:
        (b, K, H, W) float32 in the order of ``pixels``, on the device of the model; nothing where
        there are no pictures.

    Raises:
        ValueError: a batch size, window or scale below its range.

    Source: windows as in Chen et al., Cross Pseudo Supervision, CVPR 2021 (its code).
    Used by: 025, 057, 117.
    """
    if batch_size < 1:
        raise ValueError(f"a batch has at least one picture, not {batch_size}")
    if window is not None and min(window) < 1:
        raise ValueError(f"a window has at least one pixel, not {window}")
    if not scales or min(scales) <= 0:
        raise ValueError(f"scales are one or more numbers above 0, not {tuple(scales)}")
    return _batches(model, pixels, batch_size, window, scales, flip)


def _batches(
    model: nn.Module,
    pixels: Pictures,
    batch_size: int,
    window: tuple[int, int] | None,
    scales: Sequence[float],
    flip: bool,
) -> Iterator[Tensor]:
    device = device_of(model)
    for start in range(0, len(pixels), batch_size):
        index = torch.arange(start, min(start + batch_size, len(pixels)))
        images = pixels.batch(index).to(device, non_blocking=True)
        with modes_kept(model), torch.no_grad():
            model.eval()
            probs = _mean_over_scales(model, images, window, scales, flip)
        yield probs


def _mean_over_scales(
    model: nn.Module,
    images: Tensor,
    window: tuple[int, int] | None,
    scales: Sequence[float],
    flip: bool,
) -> Tensor:
    size = images.shape[-2:]
    total: Tensor | None = None
    for scale in scales:
        scaled = _resized(images, [max(1, round(side * scale)) for side in size])
        probs = _windows(model, scaled, window)
        if flip:
            probs = (probs + _windows(model, scaled.flip(-1), window).flip(-1)) / 2
        probs = _resized(probs, size)
        total = probs if total is None else total + probs
    assert total is not None
    return total / len(scales)


def _windows(model: nn.Module, images: Tensor, window: tuple[int, int] | None) -> Tensor:
    """The distributions of ``images``, the mean over all windows that see a pixel."""
    height, width = images.shape[-2:]
    if window is None or (window[0] >= height and window[1] >= width):
        return _probs(model, images)
    rows, columns = min(window[0], height), min(window[1], width)
    total: Tensor | None = None
    seen = torch.zeros(height, width, device=images.device)
    for top in _starts(height, rows):
        for left in _starts(width, columns):
            place = (..., slice(top, top + rows), slice(left, left + columns))
            probs = _probs(model, images[place])
            if total is None:
                total = probs.new_zeros(*probs.shape[:2], height, width)
            total[place] += probs
            seen[place] += 1
    assert total is not None
    return total / seen


def _starts(side: int, window: int) -> list[int]:
    """Where windows begin along a side: every 2/3 of the window, the last one at the border."""
    step = max(1, math.ceil(window * STRIDE))
    return [*range(0, side - window, step), side - window]


def _probs(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).softmax(1, dtype=torch.float32)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Pictures or distributions in ``size``, bilinear; uint8 becomes float in [0, 1]."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if maps.dtype == torch.uint8:
        maps = maps.float() / 255
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
