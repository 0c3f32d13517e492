"""Changing the grey levels of a batch: per-sample tables and blends, a draw per sample.

Operations that send a grey level to a grey level are made as tables of 256 entries, ``(B, 1, 256)``
or one per channel ``(B, C, 256)``, so that several of them are applied with one gather.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.data.transforms.geometric import check_images, chunks, per_sample
from leaven.errors import DataError

RED, GREEN, BLUE = 0.2989, 0.587, 0.114  # ITU-R BT.601 luma


def apply_tables(images: Tensor, tables: Tensor) -> Tensor:
    """Replaces every value by its entry in the table of its picture and channel.

    Args:
        images: (B, C, H, W) uint8.
        tables: (B, C, 256) or (B, 1, 256) uint8.

    Raises:
        DataError: images of another shape or dtype.
    """
    images = check_images(images)
    tables = per_sample(images, tables, "tables", tables.shape[1], 256)
    out = torch.empty_like(images)
    for part in chunks(images):
        out[part] = _look_up(images[part], tables[part])
    return out


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scales the grey levels: ``min(255, factor v)``.

    Args:
        images: (B, C, H, W) uint8.
        factor: (B,) float >= 0; 0 is black, 1 changes nothing.

    Raises:
        DataError: images or factor of another shape or dtype.
    """
    return apply_tables(images, brightness_table(per_sample(images, factor, "factor")))


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the mean luma ``m`` of the picture: ``factor v + (1 - factor) m``.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3.
        factor: (B,) float >= 0; 0 is flat grey, 1 changes nothing.

    Raises:
        DataError: images or factor of another shape or dtype.
    """
    images = check_images(images)
    return apply_tables(images, contrast_table(images, per_sample(images, factor, "factor")))


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the ``bits`` highest bits of every value.

    Args:
        images: (B, C, H, W) uint8.
        bits: (B,) integers in 0..8; 8 changes nothing.

    Raises:
        DataError: images or bits of another shape or dtype.
    """
    return apply_tables(images, posterize_table(per_sample(images, bits, "bits")))


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts the values at or above the threshold: ``255 - v`` where ``v >= threshold``.

    Args:
        images: (B, C, H, W) uint8.
        threshold: (B,) float or integers; 256 changes nothing.

    Raises:
        DataError: images or threshold of another shape or dtype.
    """
    return apply_tables(images, solarize_table(per_sample(images, threshold, "threshold")))


def autocontrast(images: Tensor) -> Tensor:
    """Stretches each channel so that its darkest value is 0 and its brightest 255.

    ``255 (v - min) / (max - min)``; a constant channel stays as it is.

    Args:
        images: (B, C, H, W) uint8.

    Raises:
        DataError: images of another shape or dtype.
    """
    images = check_images(images)
    return apply_tables(images, autocontrast_table(images))


def equalize(images: Tensor) -> Tensor:
    """Flattens the histogram of each channel, with the steps that Pillow takes.

    With the histogram ``h``, its sum ``c(v)`` over the values below ``v`` and the step
    ``s = floor((H W - h(max)) / 255)``: ``min(255, floor((c(v) + floor(s / 2)) / s))``. A channel
    with ``s = 0`` (constant or nearly so) stays as it is.

    Args:
        images: (B, C, H, W) uint8.

    Raises:
        DataError: images of another shape or dtype.
    """
    images = check_images(images)
    return apply_tables(images, equalize_table(images))


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the picture's own grey version: ``factor v + (1 - factor) luma``.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3; pictures of one channel stay as they are.
        factor: (B,) float >= 0; 0 is grey, 1 changes nothing.

    Raises:
        DataError: images or factor of another shape or dtype.
    """
    images = check_images(images)
    factor = per_sample(images, factor, "factor").float()[:, None, None, None]
    if images.shape[1] == 1:
        return images.clone()
    out = torch.empty_like(images)
    for part in chunks(images):
        values = images[part].float()
        out[part] = _blend(values, luma(values), factor[part])
    return out


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
    factor = per_sample(images, factor, "factor").float()[:, None, None, None]
    out = images.clone()
    if min(images.shape[2:]) < 3:
        return out
    for part in chunks(images):
        out[part, :, 1:-1, 1:-1] = _sharpened(images[part].float(), factor[part])
    return out


def luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) float32 of float32: 0.2989 R + 0.587 G + 0.114 B, rounded down; one channel is itself."""
    channels = images.shape[1]
    if channels == 1:
        return images
    if channels != 3:
        raise DataError(
            f"The pictures have {channels} channels.",
            "1 channel (grey) or 3 channels (red, green, blue)",
            "Convert the pictures, or leave out the operations that need colours.",
        )
    red, green, blue = images.split(1, dim=1)
    return red.mul(RED).add_(green, alpha=GREEN).add_(blue, alpha=BLUE).floor_()


def brightness_table(factor: Tensor) -> Tensor:
    """(n, 1, 256) tables of ``brightness`` by ``factor`` (n,)."""
    return _bytes(_levels(factor) * factor.float()[:, None, None])


def contrast_table(images: Tensor, factor: Tensor) -> Tensor:
    """(n, 1, 256) tables of ``contrast`` of ``images`` (n, C, H, W) by ``factor`` (n,)."""
    mean = luma(images.float()).mean((2, 3))[..., None]
    return _blend(_levels(images), mean, factor.float()[:, None, None])


def posterize_table(bits: Tensor) -> Tensor:
    """(n, 1, 256) tables of ``posterize`` to ``bits`` (n,)."""
    step = 2 ** (8 - bits.float()[:, None, None])
    return _bytes((_levels(bits) / step).floor_().mul_(step))


def solarize_table(threshold: Tensor) -> Tensor:
    """(n, 1, 256) tables of ``solarize`` at ``threshold`` (n,)."""
    levels = _levels(threshold)
    return _bytes(torch.where(levels >= threshold[:, None, None], 255 - levels, levels))


def autocontrast_table(images: Tensor) -> Tensor:
    """(n, C, 256) tables of ``autocontrast`` of ``images`` (n, C, H, W)."""
    planes = images.flatten(2)
    low, high = planes.amin(2, keepdim=True).float(), planes.amax(2, keepdim=True).float()
    constant = low == high
    low = low.masked_fill(constant, 0)
    scale = (high - low).mul_(1 / 255).masked_fill(constant, 1)
    return _bytes((_levels(images) - low).div_(scale))


def equalize_table(images: Tensor) -> Tensor:
    """(n, C, 256) tables of ``equalize`` of ``images`` (n, C, H, W)."""
    planes = images.flatten(2).long()
    # Counts are whole numbers below 2**24, exact in float32, which torch scatters fastest.
    counts = torch.zeros(*planes.shape[:2], 256, device=images.device)
    counts.scatter_add_(2, planes, torch.ones(planes.shape, device=images.device))
    brightest = counts.gather(2, planes.amax(2, keepdim=True))
    step = ((planes.shape[2] - brightest) / 255).floor_()
    below = counts.cumsum(2).sub_(counts)
    spread = below.add_((step / 2).floor_()).div_(step.clamp_min(1)).floor_()
    return _bytes(torch.where(step == 0, _levels(images), spread))


def _levels(like: Tensor) -> Tensor:
    return torch.arange(256, device=like.device, dtype=torch.float32)


def _look_up(images: Tensor, tables: Tensor) -> Tensor:
    count, channels = tables.shape[:2]
    offset = torch.arange(count * channels, device=images.device, dtype=torch.int32).mul_(256)
    index = images + offset.view(count, channels, 1, 1)
    return tables.reshape(-1).index_select(0, index.view(-1)).view_as(images)


def _sharpened(values: Tensor, factor: Tensor) -> Tensor:
    """The inner pixels of ``sharpness``, as uint8."""
    inner = values[:, :, 1:-1, 1:-1]
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = total.add_(inner, alpha=4).div_(13).round_()
    return _bytes(torch.addcmul(inner, smooth.sub_(inner), 1 - factor))


def _blend(values: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return _bytes((values * factor).addcmul_(other, 1 - factor))


def _bytes(values: Tensor) -> Tensor:
    """float32 to uint8, cut off at 0 and 255 and rounded down."""
    # By way of int16, because torch converts float to uint8 one by one.
    return values.clamp_(0, 255).short().byte()
