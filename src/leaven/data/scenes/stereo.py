"""The view of a second camera at the right of the first."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from leaven.data.scenes.layout import FAR, Floats, Layout
from leaven.data.scenes.paint import paint
from leaven.data.scenes.raster import rasterize
from leaven.data.scenes.things import per_pixel
from leaven.errors import ConfigError


@dataclass(frozen=True)
class RightView:
    """``n`` pictures of the right camera, and how the left ones are found in them.

    Attributes:
        images: (n, 3, S, S) uint8, in the light of the left ones, with noise of their own.
        instances: (n, S, S) uint8, as those of the scenes.
        disparity: (n, S, S) float32, of every pixel of the left pictures: what is at x there is at
            ``x - disparity`` here, in the same row.
        occluded: (n, S, S) bool, of every pixel of the left pictures: at that place of the right
            one (its nearest pixel) lies another object, or it is outside.
    """

    images: Tensor
    instances: Tensor
    disparity: Tensor
    occluded: Tensor


def disparities(layout: Layout, baseline: float) -> Floats:
    """(n, 1 + L) float32 pixels, ``baseline * S / depth`` of the background and of each object.

    Raises:
        ConfigError: a baseline that is not finite.
    """
    if not math.isfinite(baseline):
        raise ConfigError(
            f"The baseline is {baseline}.", "a number of metres", "give one, for example 0.2."
        )
    far = np.full((len(layout.items), 1), FAR, np.float32)
    depths = np.concatenate([far, layout.depths], 1)
    return (baseline * layout.size / depths).astype(np.float32)


def right_view(layout: Layout, instances: Tensor, baseline: float) -> RightView:
    """Paints the scenes of ``layout`` with every layer moved to the left by its disparity.

    The light belongs to the surfaces, so a point has one colour in both views but for the noise.

    Args:
        layout: n scenes.
        instances: (n, S, S) uint8, what the left pictures show.
        baseline: metres; negative for a camera at the left.
    """
    planes = disparities(layout, baseline)
    centres, corners = layout.centres.copy(), layout.corners.copy()
    centres[..., 0] -= planes[:, 1:]
    corners[:, 0] += planes[:, 0]
    moved = replace(layout, centres=centres, corners=corners, salt=layout.salt + 1)
    images = np.empty((len(planes), 3, layout.size, layout.size), np.uint8)
    right = np.empty((len(planes), layout.size, layout.size), np.uint8)
    for place, part in moved.chunks():
        raster = rasterize(part)
        lit = per_pixel(torch.from_numpy(raster.instances), torch.from_numpy(planes[place]))
        images[place] = paint(part, raster, seen_from=lit.numpy())
        right[place] = raster.instances
    disparity = per_pixel(instances, torch.from_numpy(planes))
    found = torch.from_numpy(right)
    return RightView(
        torch.from_numpy(images), found, disparity, _occluded(instances, found, disparity)
    )


def _occluded(left: Tensor, right: Tensor, disparity: Tensor) -> Tensor:
    size = left.shape[2]
    place = torch.arange(size) - disparity
    column = place.round().long()
    outside = (column < 0) | (column >= size)
    return outside | (right.gather(2, column.clamp(0, size - 1)) != left)
