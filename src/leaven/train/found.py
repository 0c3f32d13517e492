"""Labels as they go into the store: in the pictures as they were found, with what is known of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from leaven.data import ImageSet
from leaven.data.map_files import FoundMaps
from leaven.data.pixel_maps import PixelMaps
from leaven.data.placement import found_boxes, found_map, placed_boxes, placed_map
from leaven.labels import BoxLabels, PixelLabels, Source
from leaven.labels.pixel_table import PicturePixels
from leaven.labels.pixels import VOID


def found_pixels(train: ImageSet[PixelMaps], labels: PixelLabels) -> Iterator[PicturePixels]:
    """The labels people gave, as they gave them, and ``labels`` of the other pictures, each in its own
    size.

    The share that is right counts accepted pixels of a model whose truth is known.
    """
    labels, place = labels.cpu(), 0
    for item, (name, known) in enumerate(zip(train.names, train.known.tolist(), strict=True)):
        index = torch.tensor([item])
        size = _size(train, item)
        if known:
            given = _given_map(train, item, size)
            said = (given != VOID).float()
            yield PicturePixels(name, given, said, said, Source.PERSON)
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
    """The labels people gave, as they gave them, or ``given`` of the same pictures in their place,
    and ``labels`` of the other pictures, as the pictures were found; and (n, 2) int64, their heights
    and widths.

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
    found = found_boxes(merged, sizes, (height, width))
    if not isinstance(train.as_found, BoxLabels):
        return found, sizes
    first = train.as_found
    intact = train.known & _same(own.cpu(), placed_boxes(_bare(first), sizes, (height, width)))
    order = torch.arange(len(train)) + len(train) * intact
    return BoxLabels.joined([found, first]).select(order), sizes


def _given_map(train: ImageSet[PixelMaps], item: int, size: tuple[int, int]) -> Tensor:
    """(h, w) uint8, the map that people gave: what was found, where it is what is learnt from."""
    given = train.labels.stored(torch.tensor([item]))[0].cpu()
    shape = (given.shape[0], given.shape[1])
    if size != shape and isinstance(train.as_found, FoundMaps):
        first = train.as_found[item]
        if first is not None and torch.equal(placed_map(first, shape), given):
            return first
    return found_map(given, size)


def _bare(labels: BoxLabels) -> BoxLabels:
    return replace(labels, masks=None)


def _same(first: BoxLabels, second: BoxLabels) -> Tensor:
    """(n,) bool: the boxes of a picture are the same in both, row by row."""
    same = first.counts == second.counts
    one, other = _bare(first).select(same), _bare(second).select(same)
    differs = (one.boxes != other.boxes).any(1)
    for name in ("classes", "confidence", "weight", "source", "crowd"):
        differs |= getattr(one, name) != getattr(other, name)
    same[same.nonzero().squeeze(1)[one.pictures[differs]]] = False
    return same


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
