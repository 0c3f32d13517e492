"""Pictures made worse, of five strengths: batched, on pictures (n, C, H, W) uint8."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import decode_jpeg, encode_jpeg
from torchvision.transforms.functional import gaussian_blur, rotate

Corruption = Callable[[Tensor, int, torch.Generator], Tensor]
"""Pictures (n, C, H, W) in [0, 1], a strength from 1 to 5 -> changed ones, not yet clamped."""


def corrupted(images: Tensor, kind: str, strength: int, seed: int = 0) -> Tensor:
    """(n, C, H, W) uint8 pictures after a corruption of ``KINDS``."""
    changed = KINDS[kind](images.float() / 255, strength, torch.Generator().manual_seed(seed))
    return changed.clamp(0, 1).mul(255).round().to(torch.uint8)


def _noise(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    spread = (0.02, 0.04, 0.06, 0.09, 0.13)[strength - 1]
    return images + spread * torch.randn(images.shape, generator=generator)


def _heavy_noise(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    spread = (0.1, 0.2, 0.3, 0.45, 0.6)[strength - 1]
    return images + spread * torch.randn(images.shape, generator=generator)


def _blur(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    sigma = (0.4, 0.55, 0.7, 0.9, 1.2)[strength - 1]
    return gaussian_blur(images, [7, 7], [sigma, sigma])


def _heavy_blur(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    sigma = (1.0, 1.75, 2.5, 3.25, 4.0)[strength - 1]
    return gaussian_blur(images, [15, 15], [sigma, sigma])


def _contrast(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (0.7, 0.5, 0.35, 0.25, 0.15)[strength - 1]


def _brightness(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    return images + (0.1, 0.2, 0.3, 0.4, 0.5)[strength - 1]


def _pixelate(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    side = images.shape[-1]
    small = round(side * (0.9, 0.75, 0.6, 0.5, 0.4)[strength - 1])
    return F.interpolate(F.interpolate(images, size=small, mode="area"), size=side)


def _jpeg(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    quality = (60, 40, 25, 15, 8)[strength - 1]
    encoded = encode_jpeg(list(images.mul(255).round().to(torch.uint8)), quality)
    return torch.stack([decode_jpeg(one) for one in encoded]).float() / 255


def _rotation(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    return rotate(images, (15.0, 25.0, 35.0, 45.0, 60.0)[strength - 1])


def _speckle(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    spread = (0.2, 0.4, 0.6, 0.8, 1.0)[strength - 1]
    return images * (1 + spread * torch.randn(images.shape, generator=generator))


def _impulse(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    share = (0.03, 0.07, 0.12, 0.2, 0.3)[strength - 1]
    n, _, height, width = images.shape
    drawn = torch.rand(n, 1, height, width, generator=generator)
    return torch.where(drawn < share, (drawn < share / 2).float(), images)


def _cover(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Bars of grey over the picture."""
    rows = torch.arange(images.shape[-2])
    every = (8, 6, 5, 4, 3)[strength - 1]
    return torch.where((rows % every == 0).view(1, 1, -1, 1), 0.5, images)


def _inverted(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    return 1 - images


def _edges(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """The length of Sobel's gradient, as a sketch."""
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    both = torch.stack([sobel, sobel.t()])[:, None].repeat(images.shape[1], 1, 1, 1)
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    found = F.conv2d(padded, both, groups=images.shape[1])
    return found.unflatten(1, (images.shape[1], 2)).square().sum(2).sqrt() / 2


KINDS: dict[str, Corruption] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
    "heavy noise": _heavy_noise,
    "heavy blur": _heavy_blur,
    "rotation": _rotation,
    "speckle": _speckle,
    "impulse": _impulse,
    "cover": _cover,
    "inverted": _inverted,
    "edges": _edges,
}
