"""Labels as they go into the store: in the pictures as they were found, with what is known of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from leaven.data import ImageSet
from leaven.data.pixel_maps import PixelMaps
from leaven.data.placement import found_boxes, found_map
from leaven.labels import BoxLabels, PixelLabels, Source
from leaven.labels.pixel_table import PicturePixels
from leaven.labels.pixels import VOID


def found_pixels(train: ImageSet[PixelMaps], labels: PixelLabels) -> Iterator[PicturePixels]:
    """The labels people gave, and ``labels`` of the other pictures, each in its own size.

    The share that is right counts accepted pixels of a model whose truth is known.
    """
    labels, place = labels.cpu(), 0
    for item, (name, known) in enumerate(zip(train.names, train.known.tolist(), strict=True)):
        index = torch.tensor([item])
        size = _size(train, item)
        if known:
            given = train.labels.stored(index)[0].cpu()
            said = (given != VOID).float()
            yield _picture(name, size, Source.PERSON, given, said, said, None)
            continue
        classes, weight = labels.classes[place], labels.weight[place].float()
        confidence = labels.confidence[place].float()
        truth = train.truth.stored(index)[0].cpu() if bool(train.truth.known[item]) else None
        source = Source(int(labels.source[place]))
        yield _picture(name, size, source, classes, confidence, weight, truth)
        place += 1


def found_rows(
    train: ImageSet[BoxLabels], labels: BoxLabels, given: BoxLabels | None = None
) -> tuple[BoxLabels, Tensor]:
    """The labels people gave, or ``given`` of the same pictures in their place, and ``labels`` of
    the other pictures, as the pictures were found; and (n, 2) int64, their heights and widths.

    A picture in which a model accepts nothing stays unknown: it need not be empty.
    """
    _, height, width = train.pixels.shape
    labels = labels.cpu()
    accepted = torch.bincount(labels.pictures[labels.accepted], minlength=len(labels)) > 0
    own = train.labels if given is None else replace(given, known=train.known)
    merged = own.cpu().filled(replace(labels, known=accepted))
    sizes = train.sizes
    if sizes is None:
        sizes = torch.tensor([[height, width]]).expand(len(train), 2)
    return found_boxes(merged, sizes, (height, width)), sizes


def _size(train: ImageSet[PixelMaps], item: int) -> tuple[int, int]:
    if train.sizes is None:
        _, height, width = train.pixels.shape
        return height, width
    height, width = train.sizes[item].tolist()
    return height, width


def _picture(
    name: str,
    size: tuple[int, int],
    source: Source,
    classes: Tensor,
    confidence: Tensor,
    weight: Tensor,
    truth: Tensor | None,
) -> PicturePixels:
    accepted = (weight > 0) & (classes != VOID)
    right = None
    if truth is not None:
        judged = accepted & (truth != VOID)
        if bool(judged.any()):
            right = float((classes == truth)[judged].float().mean())
    return PicturePixels(
        name,
        found_map(classes, size),
        found_map(confidence, size),
        found_map(weight, size),
        source,
        right,
    )
