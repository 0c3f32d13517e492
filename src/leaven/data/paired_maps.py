"""Painted label maps of pairs as the label maps that they are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from leaven.data.changed_pixels import ChangedPixels, classes_of_colours
from leaven.data.dataset import Data, ImageSet
from leaven.data.pairs import PairedPictures
from leaven.data.pixel_maps import PixelMaps
from leaven.labels.classes import UNKNOWN
from leaven.labels.pixels import VOID


def photos_with_maps(data: Data[PairedPictures], *, swap: bool = False) -> Data[PixelMaps]:
    """Pairs of label maps and photos (see ``open_pairs``) as photos with a class per pixel.

    Args:
        data: pairs whose one side is painted in the colours of ``data.classes``.
        swap: whether the photos are what is given.
    """

    def turned(images: ImageSet[PairedPictures] | None) -> ImageSet[PixelMaps] | None:
        if images is None:
            return None
        sides = (images.pixels, images.labels.pixels)
        photos, colours = sides if swap else sides[::-1]
        maps = PixelMaps(ChangedPixels(colours, read, channels=1), images.labels.known)
        return ImageSet(photos, maps, maps, images.names)

    def read(pictures: Tensor) -> Tensor:
        classes = classes_of_colours(pictures, len(data.classes))
        return torch.where(classes == UNKNOWN, VOID, classes).to(torch.uint8)[:, None]

    train, val, test = (turned(images) for images in (data.train, data.val, data.test))
    assert train is not None
    return replace(data, train=train, val=val, test=test)  # type: ignore[return-value, arg-type]
