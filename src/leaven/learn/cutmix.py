"""CutMix: rectangles of one picture in another, and in its labels, predictions and weights.

The masks are true where the other picture is seen; ``mix`` applies them to whatever belongs to the
pictures, so that argmax(mix(a, b)) = mix(argmax a, argmax b). A common partner is the next picture
of the batch, ``images.roll(-1, 0)``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from leaven.data.transforms.regions import covered, oddly_covered
from leaven.draws import Draws
from leaven.errors import ConfigError

ASPECTS = 256
"""Aspect ratios that are compared for one that fits."""

_COPIED = (torch.float32, torch.int64, torch.bool)
"""What NumPy copies by a mask in half the time that a choice takes PyTorch on a CPU."""


def mix(mask: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """``other`` where ``mask``, else ``own``: exact copies of both.

    Args:
        mask: (B, H, W) bool, or (1, H, W) for all samples; of volumes (B, H, W, L).
        own, other: (B, H, W) or (B, C, H, W) of one dtype: pictures, classes, predictions, weights;
            of volumes with one axis more.

    Returns:
        the shape and dtype of ``own``.

    Raises:
        ValueError: shapes that do not belong together.

    Source: Yun et al., CutMix, ICCV 2019. Used by: 021, 025, 033, 036, 040, 054, 057, 072, 087, 093,
    117.
    """
    size, further = mask.shape[1:], own.ndim - mask.ndim
    alike = own.shape == other.shape and own.dtype == other.dtype
    if not alike or further not in (0, 1) or size != own.shape[1 + further :]:
        raise ValueError(
            f"a mask {tuple(mask.shape)} cannot mix {tuple(own.shape)} of {own.dtype} and "
            f"{tuple(other.shape)} of {other.dtype}"
        )
    mask = mask[:, None] if further else mask
    if own.dtype == torch.uint8:
        # Byte arithmetic runs vectorised on a CPU where a choice goes pixel by pixel.
        return (own ^ other).mul_(mask.view(torch.uint8)).bitwise_xor_(own)
    if own.is_cpu and own.dtype in _COPIED and not (own.requires_grad or other.requires_grad):
        mixed = own.clone()
        np.copyto(mixed.numpy(), other.numpy(), where=mask.numpy())
        return mixed
    return torch.where(mask, other, own)


def one_rectangle(
    count: int,
    size: tuple[int, int],
    draws: Draws,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> Tensor:
    """One rectangle of random area and aspect per sample, or none.

    With the area ``q H W``, ``q`` uniform in ``area``, and the aspect ``r`` the rectangle is
    ``floor(sqrt(q H W r))`` high and ``floor(sqrt(q H W / r))`` wide. The paper draws ``r`` uniform in
    ``aspect`` and the upper left corner uniform in the picture until the rectangle lies inside: then
    ``r`` has a density proportional to the number of corners that fit, and the corner is uniform
    among these. Here ``r`` is drawn by that density, from 256 values that are spaced evenly with a
    random start.

    Args:
        count: B.
        size: height and width.
        draws: a draw per sample.
        probability: of a rectangle.
        area: range of ``q`` in [0, 1].
        aspect: range of ``r``, height by width, above 0.

    Returns:
        (B, H, W) bool on the device of ``draws``.

    Raises:
        ConfigError: a range out of its bounds, or no rectangle of some area fits.

    Source: Yang et al., UniMatch, CVPR 2023. Used by: 033, 040, 057, 087.
    """
    _check("area", area, 0.0, 1.0)
    _check("aspect", aspect, 1e-6, 1e6)
    host = draws.host()
    pixels = host.uniform(count, 1, low=area[0], high=area[1]) * (size[0] * size[1])
    steps = (torch.arange(ASPECTS) + host.uniform(count, 1)) / ASPECTS
    ratio = aspect[0] + (aspect[1] - aspect[0]) * steps
    heights, widths = (pixels * ratio).sqrt().floor(), (pixels / ratio).sqrt().floor()
    places = (size[0] - heights + 1).clamp_min(0) * (size[1] - widths + 1).clamp_min(0)
    if bool((places.sum(1) == 0).any()):
        raise ConfigError(
            f"No rectangle of {float(pixels.max()):.0f} pixels with an aspect of {aspect[0]:g} to "
            f"{aspect[1]:g} fits into {size[0]} x {size[1]}.",
            "an area and an aspect that fit together",
            "Make the area smaller, or the range of aspects wider.",
        )
    chosen = host.categorical(places)[:, None]
    sides = torch.cat([widths.gather(1, chosen), heights.gather(1, chosen)], 1)
    used = host.flags(count, 1, probability=probability)
    return covered(_placed(sides[:, None], host, size, draws.device, used), size)


def xor_rectangles(
    count: int,
    size: tuple[int, int],
    draws: Draws,
    boxes: int = 3,
    share: tuple[float, float] = (0.25, 0.5),
) -> Tensor:
    """Several rectangles per sample; a pixel is true when an odd number of them covers it.

    For each of ``n`` boxes the share ``q`` is uniform in ``share`` and ``r`` uniform in [0, 1]; it is
    ``q^r H / sqrt(n)`` high and ``q^(1 - r) W / sqrt(n)`` wide, to the nearest pixel, and lies
    uniformly inside the picture.

    Args:
        count: B.
        size: height and width.
        draws: a draw per sample.
        boxes: n, at least 1.
        share: range of ``q``, in (0, 1].

    Returns:
        (B, H, W) bool on the device of ``draws``.

    Raises:
        ConfigError: a range out of its bounds.

    Sources: French et al., BMVC 2020; Chen et al., CPS, CVPR 2021. Used by: 025.
    """
    _check("share", share, 1e-6, 1.0)
    _check("boxes", (boxes, boxes), 1, float("inf"))
    host = draws.host()
    q = host.uniform(count, boxes, low=share[0], high=share[1])
    height = q ** host.uniform(count, boxes)
    shares = torch.stack([q / height, height], 2) / boxes**0.5
    sides = (shares * torch.tensor(size[::-1])).round()
    return oddly_covered(_placed(sides, host, size, draws.device), size)


def half_rectangle(
    count: int, size: tuple[int, int], draws: Draws, share: float = 0.5, probability: float = 1.0
) -> Tensor:
    """One rectangle of a fixed area per sample.

    Its width ``w`` is a whole number, uniform in ``share W < w < W``, its height
    ``share H W / w`` to the nearest pixel, and it lies uniformly inside the picture.

    Args:
        count: B.
        size: height and width; the width at least 2.
        draws: a draw per sample.
        share: of the picture's area, in (0, 1).
        probability: of a rectangle.

    Returns:
        (B, H, W) bool on the device of ``draws``.

    Raises:
        ConfigError: a share out of its bounds, or a picture too narrow.

    Source: Wang et al., U2PL, CVPR 2022. Used by: 054, 093, 117.
    """
    _check("share", (share, share), 1e-6, 1 - 1e-6)
    height, width = size
    narrowest = int(share * width + 1)
    if narrowest >= width:
        raise ConfigError(
            f"A picture {width} pixels wide has no rectangle of the share {share:g}.",
            "a wider picture, or a smaller share",
            f"Use pictures of at least {int(1 / (1 - share)) + 1} columns.",
        )
    host = draws.host()
    wide = host.integers(count, 1, low=narrowest, high=width).float()
    high = (share * height * width / wide).round()
    used = host.flags(count, 1, probability=probability)
    sides = torch.cat([wide, high], 1)[:, None]
    return covered(_placed(sides, host, size, draws.device, used), size)


def batch_box(size: tuple[int, ...], draws: Draws, share: float = 2 / 3) -> Tensor:
    """One box for the whole batch, of ``floor(share side)`` pixels along each axis.

    It lies uniformly inside the picture or volume. BCP's zero-box mask is ``~batch_box(...)``: inwards
    ``mix(box, unlabelled, labelled)``, outwards ``mix(box, labelled, unlabelled)``. With several
    processes all of them have the same box.

    Args:
        size: the sides of any number of axes, for example height and width.
        draws: one draw for each axis.
        share: of each side, in [0, 1].

    Returns:
        (1, *size) bool on the device of ``draws``.

    Raises:
        ConfigError: a share out of its bounds.

    Source: Bai et al., BCP, CVPR 2023. Used by: 072.
    """
    _check("share", (share, share), 0.0, 1.0)
    sides = torch.tensor([int(share * side + 1e-9) for side in reversed(size)])
    # Drawn without regard to processes, which all hold the same generator.
    place = torch.rand(len(size), generator=draws.generator)
    low = ((torch.tensor(size[::-1]) - sides + 1) * place).floor()
    ends = torch.stack([low, low + sides]).flip(1).to(draws.device, non_blocking=True)
    box = torch.ones(1, *size, dtype=torch.bool, device=draws.device)
    for axis, side in enumerate(size):
        along = torch.arange(side, device=draws.device)
        inside = (along >= ends[0, axis]) & (along < ends[1, axis])
        box &= inside.view(side, *[1] * (len(size) - 1 - axis))
    return box


def _placed(
    sides: Tensor,
    host: Draws,
    size: tuple[int, int],
    device: torch.device,
    used: Tensor | None = None,
) -> Tensor:
    """(B, n, 4) boxes of ``sides`` (B, n, 2), width and height, on ``device``; unused ones empty.

    Corners are uniform among the whole pixels that leave a rectangle inside the picture.
    """
    whole = torch.tensor(size[::-1])
    sides = sides.minimum(whole)
    room = whole - sides + 1
    low = (room * host.uniform(*sides.shape)).floor().minimum(room - 1)
    extent = sides if used is None else sides * used[..., None]
    return torch.cat([low, low + extent], 2).to(device, non_blocking=True)


def _check(name: str, bounds: tuple[float, float], least: float, most: float) -> None:
    if not least <= bounds[0] <= bounds[1] <= most:
        raise ConfigError(
            f"{name} is {bounds[0]:g} to {bounds[1]:g}.",
            f"from low to high within {least:g} to {most:g}",
            f"Change {name}.",
        )
