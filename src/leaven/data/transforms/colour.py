"""Hue, grey and blur of a batch, and changes that only some of its pictures undergo."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from leaven.data.transforms.geometric import check_images, in_chunks, per_sample
from leaven.data.transforms.photometric import luma


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turns the hue by ``turn`` of the colour circle and keeps value and chroma.

    With the largest of red, green and blue ``V``, the difference ``C`` to the smallest, the hue
    ``h`` in sixths of the circle and ``k_n = (n + h + 6 turn) mod 6`` the channels n = 5, 3, 1 are
    ``V - C clamp(min(k_n, 4 - k_n), 0, 1)``. Grey pictures stay as they are.

    Args:
        images: (B, C, H, W) uint8; pictures of other than 3 channels stay as they are.
        turn: (B,) float; 0.5 gives the opposite hues.

    Raises:
        DataError: images or turn of another shape or dtype.
    """
    images = check_images(images)
    turn = per_sample(images, turn, "turn")[:, None, None]
    if images.shape[1] != 3:
        return images.clone()
    return in_chunks(images, lambda part: _turned(images[part], turn[part]))


def greyed(images: Tensor) -> Tensor:
    """Every channel is the luma ``0.2989 R + 0.587 G + 0.114 B``, rounded down.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3; one channel stays as it is.

    Raises:
        DataError: images of another shape or dtype.
    """
    images = check_images(images)
    return in_chunks(
        images, lambda part: luma(images[part].float()).short().byte().expand_as(images[part])
    )


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blurs with a Gaussian of ``sigma`` pixels; the edge pixels go on beyond the edge.

    The weights ``exp(-d^2 / (2 sigma^2))``, cut off at three of the batch's largest ``sigma`` and
    divided by their sum, are applied along x and then along y; the result is rounded.

    Args:
        images: (B, C, H, W) uint8.
        sigma: (B,) float >= 0, best on the CPU, where its largest value is looked at; 0 changes
            nothing.

    Raises:
        DataError: images or sigma of another shape or dtype.
    """
    images = check_images(images)
    reach = max(1, math.ceil(3 * float(sigma.max()))) if len(images) else 1
    spread = per_sample(images, sigma, "sigma").float().clamp_min(1e-3)[:, None]
    distance = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-((distance / spread) ** 2) / 2)
    kernel /= kernel.sum(1, keepdim=True)
    return in_chunks(images, lambda part: _blurred(images[part], kernel[part]))


def where_flagged(
    images: Tensor, flags: Tensor, change: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """``images`` with the pictures whose flag is set replaced by what ``change`` makes of them.

    Args:
        images: (B, ...).
        flags: (B,) bool on the CPU, so that a GPU is not waited for.
        change: takes pictures and their positions in the batch (n,), on the CPU.
    """
    rows = flags.nonzero()[:, 0]
    if len(rows) == 0:
        return images
    if len(rows) == len(images):
        return change(images, rows)
    place = rows.to(images.device, non_blocking=True)
    return images.index_copy(0, place, change(images.index_select(0, place), rows))


def by_choice(
    images: Tensor, choice: Tensor, changes: Sequence[Callable[[Tensor, Tensor], Tensor]]
) -> Tensor:
    """Applies to every picture the one of ``changes`` that it has chosen.

    The pictures are sorted by their choice, so that every change works on a slice.

    Args:
        images: (B, ...).
        choice: (B,) int64 on the CPU, positions in ``changes``.
        changes: each takes pictures and their positions in the batch (n,), on the CPU.
    """
    if len(images) == 0:
        return images
    order = choice.argsort(stable=True)
    counts = choice.bincount(minlength=len(changes)).tolist()
    parts = images.index_select(0, order.to(images.device, non_blocking=True)).split(counts)
    changed = [
        change(part, rows)
        for change, part, rows in zip(changes, parts, order.split(counts))
        if len(rows)
    ]
    return torch.cat(changed).index_select(0, order.argsort().to(images.device, non_blocking=True))


def _turned(images: Tensor, turn: Tensor) -> Tensor:
    red, green, blue = images.float().unbind(1)
    high = torch.maximum(torch.maximum(red, green), blue)
    chroma = high - torch.minimum(torch.minimum(red, green), blue)
    step = chroma.clamp_min(1)
    sixth = torch.where(
        high == red,
        (green - blue) / step,
        torch.where(high == green, (blue - red) / step + 2, (red - green) / step + 4),
    )
    sixth += 6 * turn
    out = torch.empty_like(images)
    for channel, start in enumerate((5, 3, 1)):
        k = (sixth + start).remainder_(6)
        level = high - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)
        # The nearest level: exact arithmetic would give whole numbers for no turn at all.
        out[:, channel] = level.round_().short().byte()
    return out


def _blurred(images: Tensor, kernel: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    reach = kernel.shape[1] // 2
    weight = kernel.repeat_interleave(channels, 0)
    planes = images.float().view(1, count * channels, height, width)
    framed = pad(planes, (reach, reach, reach, reach), mode="replicate")
    across = conv2d(framed, weight[:, None, None, :], groups=count * channels)
    both = conv2d(across, weight[:, None, :, None], groups=count * channels)
    return both.view(images.shape).round_().short().byte()
