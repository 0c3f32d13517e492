"""Changing the grey levels of a batch, with parameters per sample.

The results are those of torchvision's functions on each picture, rounded down to whole levels as
there. Arithmetic is in float32: where a blend is a whole number in exact arithmetic, its last bit
decides about the level.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.data.transforms.geometric import check_images, in_chunks, per_sample
from leaven.errors import DataError

RED, GREEN, BLUE = 0.2989, 0.587, 0.114  # ITU-R BT.601 luma


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scales the grey levels: ``min(255, factor v)``.

    Args:
        images: (B, C, H, W) uint8.
        factor: (B,) float >= 0; 0 is black, 1 changes nothing.

    Raises:
        DataError: images or factor of another shape or dtype.
    """
    images = check_images(images)
    factor = _column(images, factor, "factor")
    return in_chunks(images, lambda part: _bytes(images[part].float().mul_(factor[part])))


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the mean luma ``m`` of the picture: ``factor v + (1 - factor) m``.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3.
        factor: (B,) float >= 0; 0 is flat grey, 1 changes nothing.

    Raises:
        DataError: images or factor of another shape or dtype.
    """
    images = check_images(images)
    factor = _column(images, factor, "factor")

    def change(part: slice) -> Tensor:
        values = images[part].float()
        return _blend(values, luma(values).mean((2, 3), keepdim=True), factor[part])

    return in_chunks(images, change)


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the picture's own grey version: ``factor v + (1 - factor) luma``.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3; pictures of one channel stay as they are.
        factor: (B,) float >= 0; 0 is grey, 1 changes nothing.

    Raises:
        DataError: images or factor of another shape or dtype.
    """
    images = check_images(images)
    factor = _column(images, factor, "factor")
    if images.shape[1] == 1:
        return images.clone()

    def change(part: slice) -> Tensor:
        values = images[part].float()
        return _blend(values, luma(values), factor[part])

    return in_chunks(images, change)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the ``bits`` highest bits of every value.

    Args:
        images: (B, C, H, W) uint8.
        bits: (B,) whole numbers in 0..8; 8 changes nothing.

    Raises:
        DataError: images or bits of another shape or dtype.
    """
    images = check_images(images)
    kept = 256 - 2 ** (8 - _column(images, bits, "bits"))
    return images & kept.to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts the values at or above the threshold: ``255 - v`` where ``v >= threshold``.

    Args:
        images: (B, C, H, W) uint8.
        threshold: (B,) numbers in 0..256; 256 changes nothing.

    Raises:
        DataError: images or threshold of another shape or dtype.
    """
    images = check_images(images)
    highest_kept = _column(images, threshold, "threshold").float().ceil().sub_(1).short()
    # The sign of the difference, spread over all bits, is the mask: faster than a comparison.
    return in_chunks(
        images, lambda part: images[part] ^ ((highest_kept[part] - images[part]) >> 15).byte()
    )


def autocontrast(images: Tensor) -> Tensor:
    """Stretches each channel so that its darkest value is 0 and its brightest 255.

    ``255 (v - min) / (max - min)``; a constant channel stays as it is.

    Args:
        images: (B, C, H, W) uint8.

    Raises:
        DataError: images of another shape or dtype.
    """
    images = check_images(images)
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    constant = low == high
    low = low.float().masked_fill_(constant, 0)
    scale = (high - low).mul_(1 / 255).masked_fill_(constant, 1)
    return in_chunks(
        images, lambda part: _bytes(images[part].float().sub_(low[part]).div_(scale[part]))
    )


def equalize(images: Tensor) -> Tensor:
    """Flattens the histogram of each channel, with the steps that Pillow takes.

    With the histogram ``h``, its sum ``c(v)`` over the values below ``v`` and the step
    ``s = floor((H W - h(max)) / 255)``: ``min(255, floor((c(v) + floor(s / 2)) / s))``. A channel
    with ``s = 0`` (constant or nearly so) stays as it is.

    Args:
        images: (B, C, H, W) uint8, fewer than 2**24 pixels each.

    Raises:
        DataError: images of another shape or dtype.
    """
    images = check_images(images)
    return in_chunks(images, lambda part: _equalized(images[part]))


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with a smoothed version ``s``: ``factor v + (1 - factor) s``.

    ``s`` is the 3x3 mean with weight 5 for the centre and 1 for the others, rounded. The edge
    pixels stay as they are, and so do pictures with a side under 3.

    Args:
        images: (B, C, H, W) uint8.
        factor: (B,) float >= 0; 0 is smooth, 1 changes nothing, above 1 sharpens.

    Raises:
        DataError: images or factor of another shape or dtype.
    """
    images = check_images(images)
    factor = _column(images, factor, "factor")
    if min(images.shape[2:]) < 3:
        return images.clone()
    return in_chunks(images, lambda part: _sharpened(images[part], factor[part]))


def check_channels(images: Tensor) -> None:
    """Raises a DataError when the pictures are neither grey nor red, green and blue."""
    if images.shape[1] not in (1, 3):
        raise DataError(
            f"The pictures have {images.shape[1]} channels.",
            "1 channel (grey) or 3 channels (red, green, blue)",
            "Convert the pictures, or leave out the operations that need colours.",
        )


def luma(values: Tensor) -> Tensor:
    """(B, 1, H, W) of float32: 0.2989 R + 0.587 G + 0.114 B, rounded down; one channel is itself.

    Raises:
        DataError: neither one nor three channels.
    """
    check_channels(values)
    if values.shape[1] == 1:
        return values
    red, green, blue = values.split(1, dim=1)
    return red.mul(RED).add_(green, alpha=GREEN).add_(blue, alpha=BLUE).floor_()


def _equalized(images: Tensor) -> Tensor:
    planes = images.flatten(2).long()
    # Counts are whole numbers below 2**24, exact in float32, which torch scatters fastest.
    counts = torch.zeros(*planes.shape[:2], 256, device=images.device)
    counts.scatter_add_(2, planes, torch.ones(planes.shape, device=images.device))
    brightest = counts.gather(2, planes.amax(2, keepdim=True))
    step = ((planes.shape[2] - brightest) / 255).floor_()
    below = counts.cumsum(2).sub_(counts)
    spread = below.add_((step / 2).floor_()).div_(step.clamp_min(1)).floor_()
    levels = torch.arange(256, device=images.device, dtype=torch.float32)
    tables = _bytes(torch.where(step == 0, levels, spread))
    return tables.gather(2, planes).view_as(images)


def _sharpened(images: Tensor, factor: Tensor) -> Tensor:
    values = images.float()
    inner = values[:, :, 1:-1, 1:-1]
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = total.add_(inner, alpha=4).div_(13).round_()
    out = images.clone()
    out[:, :, 1:-1, 1:-1] = _bytes(torch.addcmul(inner, smooth.sub_(inner), 1 - factor))
    return out


def _column(images: Tensor, values: Tensor, name: str) -> Tensor:
    return per_sample(images, values, name)[:, None, None, None]


def _blend(values: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return _bytes((values * factor).addcmul_(other, 1 - factor))


def _bytes(values: Tensor) -> Tensor:
    """float32 to uint8, cut off at 0 and 255 and rounded down."""
    # By way of int16, because torch converts float to uint8 one by one.
    return values.clamp_(0, 255).short().byte()
