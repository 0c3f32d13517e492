"""Rectangles of noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.data.transforms.colour_views import check_probability, check_range
from leaven.data.transforms.geometric import check_images
from leaven.data.transforms.regions import covered
from leaven.draws import Draws


@dataclass(frozen=True)
class NoiseErase:
    """Covers a rectangle of random size, form and place with noise, with a probability.

    The area is uniform in ``area``, the ratio of height to width log-uniform in ``ratio``; what would
    be larger than the picture is cut to it. Each value of the noise is uniform in 0..255.

    Args:
        probability: of each picture to be changed.
        area: range of the share of the picture.
        ratio: range of height over width.

    Raises:
        ConfigError: a value out of its range.

    Source: Zhong et al., Random erasing, AAAI 2020, as in Unbiased Teacher, ICLR 2021. Used by:
    Unbiased Teacher.
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.2)
    ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_range("area", *self.area, 0.0, 1.0)
        check_range("ratio", *self.ratio, 1e-3, 1e3)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Changed copies of ``images`` (B, C, H, W) uint8, with ``draws`` per sample."""
        images = check_images(images)
        mask = self.mask(len(images), (images.shape[2], images.shape[3]), draws)
        noise = draws.integers(len(images), *images.shape[1:], high=256).to(images)
        return torch.where(mask[:, None].to(images.device, non_blocking=True), noise, images)

    def mask(self, count: int, size: tuple[int, int], draws: Draws) -> Tensor:
        """(count, H, W) bool, the covered pixels, on the device of ``draws``."""
        flags = draws.flags(count, probability=self.probability)
        area = draws.uniform(count, low=self.area[0], high=self.area[1]) * size[0] * size[1]
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = draws.uniform(count, low=low, high=high).exp()
        sides = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], 1).round()
        whole = torch.tensor([size[1], size[0]], device=sides.device)
        sides = sides.minimum(whole) * flags[:, None]
        corner = ((whole - sides) * draws.uniform(count, 2)).round()
        return covered(torch.cat([corner, corner + sides], 1)[:, None], size)
