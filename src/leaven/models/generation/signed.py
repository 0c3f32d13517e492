"""The range that generators work in: [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def to_signed(images: Tensor) -> Tensor:
    """uint8 pictures, or floating ones in [0, 1], to float in [-1, 1]."""
    if images.dtype == torch.uint8:
        return images.to(torch.get_default_dtype()) / 127.5 - 1
    return images * 2 - 1


def to_uint8(pictures: Tensor) -> Tensor:
    """Pictures in [-1, 1] to uint8; what lies outside is cut off."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
