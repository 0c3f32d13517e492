"""Features of regions: RoIAlign on the level of the pyramid that suits the size of a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from leaven.models.detection.regions import Regions, areas

SAMPLES = 2
"""Samples per bin, along each axis."""

_OUTSIDE = -2.0
"""A place that no map has."""


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
    ``MultiScaleRoIAlign``, for regions in any order; on a CPU about twice as fast
    (``pooled_regions``).

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
        maps = [level.float() for level in pyramid.maps[: self.levels]]
        strides = [pyramid.padded[0] / level.shape[-2] for level in maps]
        first = round(torch.tensor(strides[0]).log2().item())
        side = areas(regions.boxes).clamp_min(0).sqrt()
        wanted = torch.floor(4 + torch.log2(side / self.canonical) + 1e-6) - first
        # The side of an empty region has the logarithm -inf, which clamps to the finest level; one
        # that is not a number goes there too, and no sample of it counts.
        which = wanted.nan_to_num(0).clamp(0, len(maps) - 1).long()
        if maps[0].device.type == "cpu":
            return pooled_regions(maps, strides, regions, which, self.output)
        rois = regions.rois()
        shape = (len(regions), maps[0].shape[1], self.output, self.output)
        pooled = torch.zeros(shape, device=rois.device)
        for number, (level, stride) in enumerate(zip(maps, strides, strict=True)):
            rows = (which == number).nonzero().squeeze(1)
            part = roi_align(level, rois[rows], self.output, 1 / stride, SAMPLES)
            pooled = pooled.index_copy(0, rows, part)
        return pooled


def pooled_regions(
    maps: Sequence[Tensor],
    strides: Sequence[float],
    regions: Regions,
    which: Tensor,
    output: int,
) -> Tensor:
    """RoIAlign of all levels at once: a bin is the weighted sum of 16 places of a map.

    The 2 x 2 samples of a bin lie between 2 x 2 places each. All maps are one table with a row per
    place, and the bins are bags of its rows, which a CPU sums much faster than it follows
    ``torchvision.ops.roi_align``, whose values these are.

    Args:
        maps: of each level (B, C, h, w) float32.
        strides: pixels of the pictures per place of each level.
        which: (R,) int64, the level of each region.
        output: bins on a side.

    Returns:
        (R, C, output, output) float32.
    """
    count, (batch, channels) = len(regions), maps[0].shape[:2]
    table = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in maps])
    sizes = torch.tensor([level.shape[-2:] for level in maps])
    ends = (batch * sizes.prod(1)).cumsum(0)
    height, width = sizes[which].unbind(1)
    first = (ends - batch * sizes.prod(1))[which] + regions.pictures * height * width
    boxes = regions.boxes.detach() / regions.boxes.new_tensor(strides)[which, None]
    columns, across = _places(boxes[:, 0], boxes[:, 2], width, output)
    rows, down = _places(boxes[:, 1], boxes[:, 3], height, output)
    rows = first[:, None, None] + rows * width[:, None, None]
    bags = rows[:, :, None, :, None] + columns[:, None, :, None, :]
    weights = down[:, :, None, :, None] * across[:, None, :, None, :]
    pooled = F.embedding_bag(
        bags.flatten(3).flatten(0, 2).int(),
        table,
        per_sample_weights=weights.flatten(3).flatten(0, 2),
        mode="sum",
    )
    return pooled.view(count, output, output, channels).permute(0, 3, 1, 2)


def _places(low: Tensor, high: Tensor, size: Tensor, output: int) -> tuple[Tensor, Tensor]:
    """The places along one axis that the bins of regions take from, and how much of each.

    Args:
        low, high: (R,) where a region begins and ends, in places.
        size: (R,) int64, how many places there are.

    Returns:
        (R, output, 4) int64 and float32. A sample more than a place outside counts nothing, nor
        does one that is not a number.
    """
    side = (high - low).clamp_min(1)
    steps = (torch.arange(output * SAMPLES) + 0.5) / (output * SAMPLES)
    at = (low[:, None] + side[:, None] * steps).nan_to_num(_OUTSIDE)
    last = size[:, None] - 1
    counts = ((at >= -1) & (at <= last + 1)) / SAMPLES
    at = torch.minimum(at.clamp_min(0), last)
    before = at.floor().long()
    part = at - before
    places = torch.stack([before, torch.minimum(before + 1, last)], 2)
    weights = torch.stack([(1 - part) * counts, part * counts], 2)
    shape = (len(low), output, 2 * SAMPLES)
    return places.view(shape), weights.view(shape)
