"""The geometry of mirrors, crops, shifts, scales, turns and shears, from a draw per sample."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.data.transforms.geometry import Geometry, affine_matrix
from leaven.data.transforms.sampling import Size


def unmoved(count: int, size: Size) -> Geometry:
    """The geometry of ``count`` pictures seen as they are; ``size`` is (height, width)."""
    return Geometry(torch.eye(3).expand(count, 3, 3), size, size)


def mirrored(flags: Tensor, size: Size, upside_down: bool = False) -> Geometry:
    """Left and right exchanged where ``flags`` (B,) bool is set: ``x' = W - x``.

    Args:
        flags: (B,) bool.
        size: (height, width).
        upside_down: exchange top and bottom in place of left and right.
    """
    flags = _plain(flags)
    one, zero, sign = torch.ones_like(flags), torch.zeros_like(flags), 1 - 2 * flags
    if upside_down:
        return Geometry(affine_matrix(one, zero, zero, zero, sign, flags * size[0]), size, size)
    return Geometry(affine_matrix(sign, zero, flags * size[1], zero, one, zero), size, size)


def shifted(dx: Tensor, dy: Tensor, size: Size) -> Geometry:
    """Moved to the right by ``dx`` and down by ``dy`` pixels, (B,) each; ``size`` stays."""
    return cropped(-_plain(dx), -_plain(dy), size, size)


def cropped(left: Tensor, top: Tensor, source: Size, view: Size) -> Geometry:
    """The part of size ``view`` whose upper left corner is at ``left``, ``top``: ``x' = x - left``.

    Args:
        left, top: (B,) pixels; what lies outside the source is padding.
        source, view: (height, width).
    """
    left, top = _plain(left), _plain(top)
    one, zero = torch.ones_like(left), torch.zeros_like(left)
    return Geometry(affine_matrix(one, zero, -left, zero, one, -top), source, view)


def scaled(factor: Tensor, source: Size, view: Size) -> Geometry:
    """Stretched from the upper left corner: ``x' = f_x x``, ``y' = f_y y``.

    Args:
        factor: (B,) for both axes, or (B, 2) for x and y; above 0.
        source, view: (height, width); what is stretched beyond the view is cut off.
    """
    factor = _plain(factor)
    across, down = (factor, factor) if factor.ndim == 1 else factor.unbind(1)
    zero = torch.zeros_like(across)
    return Geometry(affine_matrix(across, zero, zero, zero, down, zero), source, view)


def turned(degrees: Tensor, size: Size) -> Geometry:
    """Turned counter-clockwise about the centre by ``degrees`` (B,); ``size`` stays."""
    angle = _plain(degrees).deg2rad()
    cosine, sine = angle.cos(), angle.sin()
    return _about_centre(cosine, sine, -sine, cosine, size)


def quarter_turned(turns: Tensor, side: int) -> Geometry:
    """Square pictures turned counter-clockwise by ``turns`` (B,) times 90 degrees, exactly."""
    quarter = turns.cpu() % 4
    cosine = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64)[quarter]
    sine = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=torch.float64)[quarter]
    return _about_centre(cosine, sine, -sine, cosine, (side, side))


def sheared(across: Tensor, down: Tensor, size: Size) -> Geometry:
    """Sheared about the centre, first along x and then along y.

    ``x' = x + s_x (y - H / 2)``, then ``y' = y + s_y (x' - W / 2)``.

    Args:
        across, down: (B,) the slopes s_x and s_y, pixels per pixel.
        size: (height, width), which stays.
    """
    across, down = _plain(across), _plain(down)
    return _about_centre(torch.ones_like(across), across, down, 1 + across * down, size)


def _about_centre(a: Tensor, b: Tensor, c: Tensor, d: Tensor, size: Size) -> Geometry:
    x, y = size[1] / 2, size[0] / 2
    return Geometry(affine_matrix(a, b, x - a * x - b * y, c, d, y - c * x - d * y), size, size)


def _plain(values: Tensor) -> Tensor:
    return values.to("cpu", torch.float64)
