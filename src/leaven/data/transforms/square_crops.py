"""Boxes cut out of their pictures as squares, with what lies around them."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.data.transforms.geometry import Geometry, affine_matrix

_AT_ONCE = 64


def square_crops(
    images: Tensor, boxes: Tensor, pictures: Tensor, side: int, fill: int = 114
) -> Tensor:
    """A square picture of each box: the box grown about its centre to the longer of its sides.

    What comes in is the picture around the box; what lies outside the picture is ``fill``.

    Args:
        images: (B, C, H, W) uint8.
        boxes: (m, 4), x1, y1, x2, y2 in pixels, with an area.
        pictures: (m,) int64, the picture of each.
        side: of the crops, in pixels.
        fill: grey level.

    Returns:
        (m, C, side, side) uint8.

    Source: Kaul et al., Label, Verify, Correct, CVPR 2022. Used by: 034.
    """
    size = (images.shape[2], images.shape[3])
    sides = (boxes[:, 2:] - boxes[:, :2]).amax(1).double().cpu()
    corner = ((boxes[:, :2] + boxes[:, 2:]) / 2).double().cpu() - sides[:, None] / 2
    factor = side / sides
    zero = torch.zeros_like(factor)
    matrix = affine_matrix(
        factor, zero, -factor * corner[:, 0], zero, factor, -factor * corner[:, 1]
    )
    geometry = Geometry(matrix, size, (side, side))
    crops = [images.new_zeros(0, images.shape[1], side, side)]
    for rows in torch.arange(len(boxes)).split(_AT_ONCE):
        own = images[pictures[rows.to(pictures.device)]]
        crops.append(geometry[rows].images(own, fill=fill))
    return torch.cat(crops)
