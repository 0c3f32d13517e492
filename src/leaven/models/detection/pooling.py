"""Features of regions: RoIAlign on the level of the pyramid that suits the size of a region."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align

from leaven.models.detection.regions import Regions, areas


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The feature maps of a batch.

    Attributes:
        maps: of each level (B, C, h, w), the finest first; each level halves the one before.
        size: (height, width) of the pictures.
        padded: (height, width) of the pictures with what they were padded by.
    """

    maps: tuple[Tensor, ...]
    size: tuple[int, int]
    padded: tuple[int, int]


@dataclass(frozen=True)
class RegionPool:
    """RoIAlign (He et al., 2017) with the rule of FPN (Lin et al., 2017, equation 1).

    Level ``floor(4 + log2(sqrt(area) / canonical))``, where level k has stride 2^k, within the
    levels that there are; 2 x 2 samples per bin. The same as torchvision's
    ``MultiScaleRoIAlign``, for regions in any order.

    Attributes:
        output: bins on a side.
        levels: the first so many maps of the pyramid are pooled from.
        canonical: the side in pixels of the regions for the map of stride 16.
    """

    output: int
    levels: int
    canonical: float = 224

    def __call__(self, pyramid: Pyramid, regions: Regions) -> Tensor:
        """(R, C, output, output) float32."""
        maps = pyramid.maps[: self.levels]
        strides = [pyramid.padded[0] / level.shape[-2] for level in maps]
        first = round(torch.tensor(strides[0]).log2().item())
        side = areas(regions.boxes).clamp_min(0).sqrt()
        wanted = torch.floor(4 + torch.log2(side / self.canonical) + 1e-6) - first
        # The side of an empty region has the logarithm -inf, which clamps to the finest level.
        which = wanted.clamp(0, len(maps) - 1).long()
        rois = regions.rois()
        shape = (len(regions), maps[0].shape[1], self.output, self.output)
        pooled = torch.zeros(shape, device=rois.device)
        for number, (level, stride) in enumerate(zip(maps, strides, strict=True)):
            rows = (which == number).nonzero().squeeze(1)
            part = roi_align(level.float(), rois[rows], self.output, 1 / stride, 2)
            pooled = pooled.index_copy(0, rows, part)
        return pooled
