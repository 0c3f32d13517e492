"""CIELAB and back, for batches of pictures: lightness apart from colour.

White is D65, the white of screens. Source: IEC 61966-2-1 (sRGB), CIE 15 (CIELAB).
"""

from __future__ import annotations

import torch
from torch import Tensor

_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_BEND = 6 / 29
"""Where the cube root gives way to a straight line."""


def lab_of(pictures: Tensor) -> Tensor:
    """CIELAB of sRGB pictures: L in [0, 100], a and b in about [-128, 127].

    Args:
        pictures: (B, 3, H, W), uint8 or float in [0, 1].

    Returns:
        (B, 3, H, W) float32.
    """
    linear = _linear(_unit(pictures))
    matrix = linear.new_tensor(_TO_XYZ)
    x, y, z = _bent(_mixed(linear, matrix / matrix.sum(1, keepdim=True))).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def rgb_of(lab: Tensor) -> Tensor:
    """The way back of ``lab_of``, float32 in [0, 1]; colours that no screen shows are cut."""
    lightness, a, b = lab.float().unbind(1)
    y = (lightness + 16) / 116
    ratio = _straight(torch.stack([y + a / 500, y, y - b / 200], 1))
    matrix = torch.tensor(_TO_XYZ, dtype=torch.float64)
    back = torch.linalg.inv(matrix / matrix.sum(1, keepdim=True)).to(ratio)
    return _coded(_mixed(ratio, back).clamp(0, 1))


def lightness_of(grey: Tensor) -> Tensor:
    """L (B, 1, H, W) float32 in [0, 100] of grey pictures (B, 1, H, W), uint8 or in [0, 1]."""
    return 116 * _bent(_linear(_unit(grey))) - 16


def same_lightness(pictures: Tensor) -> Tensor:
    """The grey pictures (B, 1, H, W) uint8 of the lightness of colour ones (B, 3, H, W) uint8.

    ``lightness_of`` them is L of ``lab_of`` the colour ones, up to rounding.
    """
    weights = torch.tensor(_TO_XYZ[1], device=pictures.device)
    weights = (weights / weights.sum()).view(1, 3, 1, 1)
    luminance = (_linear(_unit(pictures)) * weights).sum(1, keepdim=True)
    return (_coded(luminance.clamp(0, 1)) * 255).round().to(torch.uint8)


def _unit(pictures: Tensor) -> Tensor:
    return pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures.float()


def _mixed(colours: Tensor, matrix: Tensor) -> Tensor:
    """Each pixel's three values (B, 3, H, W) times the matrix (3, 3)."""
    return torch.einsum("ij,bjhw->bihw", matrix, colours)


def _linear(coded: Tensor) -> Tensor:
    return torch.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def _coded(linear: Tensor) -> Tensor:
    bent = 1.055 * linear.clamp_min(1e-8) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, bent)


def _bent(ratio: Tensor) -> Tensor:
    line = ratio / (3 * _BEND**2) + 4 / 29
    return torch.where(ratio > _BEND**3, ratio.clamp_min(1e-8) ** (1 / 3), line)


def _straight(bent: Tensor) -> Tensor:
    return torch.where(bent > _BEND, bent**3, 3 * _BEND**2 * (bent - 4 / 29))
