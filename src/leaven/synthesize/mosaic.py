"""Several pictures in one, as tiles."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from leaven.data.transforms import Geometry
from leaven.data.transforms.geometry import affine_matrix
from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.labels import BoxLabels


def mosaic(
    images: Tensor, labels: BoxLabels, draws: Draws, *, probability: float = 0.5
) -> tuple[Tensor, BoxLabels]:
    """Some of the pictures of a batch become mosaics of 4 or 9 of its pictures.

    A mosaic has 2 x 2 or 3 x 3 tiles, as likely one as the other; each shows a whole picture of the
    batch, drawn with replacement, in half or a third of its size. Boxes and ignore regions follow;
    those that become narrower than a pixel are gone.

    Args:
        images: (B, C, H, W) uint8.
        labels: of the B pictures, without masks.
        draws: per picture.
        probability: of a picture to become a mosaic.

    Raises:
        ConfigError: a probability outside [0, 1].

    Source: Kaul et al., Label, Verify, Correct, CVPR 2022 (official code). Used by: 034.
    """
    if not 0 <= probability <= 1:
        raise ConfigError(
            f"The probability of a mosaic is {probability:g}.", "in [0, 1]", "Correct it."
        )
    host, count = draws.host(), len(images)
    flags = host.flags(count, probability=probability)
    tiles = torch.where(host.flags(count), 2, 3)
    donors = host.integers(count, 9, high=max(count, 1))
    whole = (~flags).nonzero()[:, 0]
    parts, pictures = [labels.select(whole)], [images[whole.to(images.device)]]
    order = [whole]
    for number in (2, 3):
        rows = (flags & (tiles == number)).nonzero()[:, 0]
        some = donors[rows, : number**2]
        tiled, things = _tiled(images, labels, some, number)
        pictures.append(tiled)
        parts.append(things)
        order.append(rows)
    back = torch.cat(order).argsort()
    return torch.cat(pictures)[back.to(images.device)], BoxLabels.joined(parts).select(back)


def _tiled(
    images: Tensor, labels: BoxLabels, donors: Tensor, number: int
) -> tuple[Tensor, BoxLabels]:
    """Mosaics (M, C, H, W) of ``number`` x ``number`` pictures ``donors`` (M, number^2)."""
    height, width = images.shape[2:]
    tiled = images.new_zeros(len(donors), *images.shape[1:])
    things = []
    for place in range(number**2):
        row, column = divmod(place, number)
        # In whole pixels, so that tiles do not overlap.
        top, bottom = height * row // number, height * (row + 1) // number
        left, right = width * column // number, width * (column + 1) // number
        chosen = donors[:, place]
        geometry = _shrunk(len(chosen), (height, width), (bottom - top, right - left))
        tiled[:, :, top:bottom, left:right] = geometry.images(images[chosen.to(images.device)])
        moved = geometry.labels(labels.select(chosen))
        corner = torch.tensor([left, top, left, top], device=moved.boxes.device)
        things.append(replace(moved, boxes=moved.boxes + corner))
    return tiled, BoxLabels.combined(things)


def _shrunk(count: int, source: tuple[int, int], view: tuple[int, int]) -> Geometry:
    across = torch.full((count,), view[1] / source[1], dtype=torch.float64)
    down = torch.full((count,), view[0] / source[0], dtype=torch.float64)
    zero = torch.zeros_like(across)
    return Geometry(affine_matrix(across, zero, zero, zero, down, zero), source, view)
