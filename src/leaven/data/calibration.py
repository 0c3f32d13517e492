"""Labelled items that are held out for promises and for nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from leaven.data.dataset import Data, ImageSet, T
from leaven.data.features import FeaturePixels, JoinedPixels
from leaven.data.files import FilePixels
from leaven.data.map_files import FileMaps, FoundMaps
from leaven.data.pixel_maps import PixelMaps
from leaven.data.pixels import MemoryPixels, Pixels
from leaven.data.sources import Sources
from leaven.errors import DataError
from leaven.labels.boxes import BoxLabels

LARGEST_SHARE = 1 / 3
"""Of the labels, where nobody says how many are to be held out."""


@dataclass(frozen=True)
class Calibration:
    """How many labelled items are held out for promises.

    Attributes:
        count: so many.
        at_most: or this share of the labels, where that is less; None to insist on ``count``.
    """

    count: int
    at_most: float | None = None


def take_calibration(
    before: ImageSet[T], after: ImageSet[T], wanted: Calibration, seed: int
) -> tuple[ImageSet[T], ImageSet[T]]:
    """Draws the items at random, and gives the others and those that are held out.

    They have to be like the unlabelled items, and labelled by people. Where an experiment has hidden labels, they are drawn
    from the hidden ones, which is drawing at random from what is unlabelled: the labels that are
    kept are a choice, with equal numbers of each class. Else they are drawn from all labelled items,
    and it is up to those who labelled them that these are a fair sample.

    The held-out items come in random order, with the truth for their labels where it is known.

    Args:
        before: the training items with all of their labels.
        after: the same, some of their labels hidden; ``before`` itself where none are.
        wanted: how many.
        seed: which ones.

    Raises:
        DataError: there are not so many, or a class would be left without a label.
    """
    labelled = int(before.by_person.sum())
    hidden = before.known & ~after.known
    pool = (hidden if bool(hidden.any()) else before.known) & before.by_person
    pool = pool.nonzero().squeeze(1)
    count = wanted.count
    if wanted.at_most is not None:
        count = min(count, int(wanted.at_most * labelled), len(pool) // 2)
    if not 1 <= count < len(pool):
        raise DataError(
            f"{wanted.count} labels are to be held out for the promise, and there are {len(pool)} "
            "to take them from.",
            f"from 1 to {len(pool) - 1}",
            "hold out fewer (calibration), label more, or ask for no promise.",
        )
    generator = torch.Generator().manual_seed((seed + 1) * 6_700_417)
    chosen = pool[torch.randperm(len(pool), generator=generator)[:count]]
    rest = torch.ones(len(before), dtype=torch.bool)
    rest[chosen] = False
    kept = after.subset(rest)
    _check_classes(after, kept)
    held = before.subset(chosen)
    labels = held.truth
    if isinstance(labels, Tensor):
        labels = cast("T", torch.where(labels >= 0, labels, cast("Tensor", held.labels)))
    return kept, replace(held, labels=labels)


def with_calibration(data: Data[T]) -> Data[T]:
    """The job as a method is to see it: what is held out for promises is unlabelled, and last.

    A network is surer of pictures that it was trained on, also without their labels. Held-out items
    tell of the unlabelled ones only where a method treats both alike, so they are among them, and
    neither their labels nor their truth are.
    """
    held = data.calibration
    if held is None:
        return data
    nothing = _hidden(held.truth)
    train = ImageSet(
        joined_pixels(data.train.pixels, held.pixels),
        _joined_labels(data.train.labels, nothing),
        _joined_labels(data.train.truth, nothing),
        [*data.train.names, *held.names],
        pictures=None
        if data.train.pictures is None or held.pictures is None
        else joined_pixels(data.train.pictures, held.pictures),
        sizes=None
        if data.train.sizes is None or held.sizes is None
        else torch.cat([data.train.sizes, held.sizes]),
        model_confidence=None
        if data.train.model_confidence is None or held.model_confidence is None
        else torch.cat([data.train.model_confidence, held.model_confidence]),
        as_found=_joined_found(data.train.as_found, held.as_found),
    )
    return replace(data, train=train, calibration=None)


def _joined_found(
    first: BoxLabels | FoundMaps | None, second: BoxLabels | FoundMaps | None
) -> BoxLabels | FoundMaps | None:
    match first, second:
        case BoxLabels(), BoxLabels():
            return BoxLabels.joined([first, second])
        case FoundMaps(), FoundMaps():
            return FoundMaps.joined([first, second])
    return None


def joined_pixels(first: Pixels, second: Pixels) -> Pixels:
    """Two sets of pictures as one, without a copy where both are parts of the same set."""
    match first, second:
        case MemoryPixels(), MemoryPixels() if first.images is second.images:
            return MemoryPixels(first.images, torch.cat([_rows(first), _rows(second)]))
        case FeaturePixels(), FeaturePixels() if first.table is second.table:
            return FeaturePixels(first.table, torch.cat([_rows(first), _rows(second)]))
        case FilePixels(), FilePixels() if first.sources.items is second.sources.items:
            rows = torch.cat([_rows(first.sources), _rows(second.sources)])
            names = [*first.names, *second.names]
            sources = Sources(first.sources.items, rows)
            return FilePixels(sources, names, first.shape, whole=first.whole)
        case FileMaps(), FileMaps() if first.maps is second.maps:
            _, height, width = first.shape
            return FileMaps(first.maps, torch.cat([first.items, second.items]), (height, width))
    return JoinedPixels([first, second], torch.arange(len(first) + len(second)))


def _rows(some: MemoryPixels | FeaturePixels | Sources) -> Tensor:
    return torch.arange(len(some)) if some.rows is None else some.rows


def _hidden(labels: T) -> T:
    """Nothing, of as many items."""
    if isinstance(labels, Tensor):
        return cast("T", torch.full_like(labels, -1))
    assert isinstance(labels, PixelMaps | BoxLabels)
    return cast("T", labels.hidden(torch.zeros(len(labels), dtype=torch.bool)))


def _joined_labels(first: T, second: T) -> T:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return cast("T", torch.cat([first, second]))
    if isinstance(first, BoxLabels) and isinstance(second, BoxLabels):
        return cast("T", BoxLabels.joined([first, second]))
    assert isinstance(first, PixelMaps)
    assert isinstance(second, PixelMaps)
    tags = None
    if first.tags is not None and second.tags is not None:
        tags = torch.cat([first.tags, second.tags])
    maps = joined_pixels(first.maps, second.maps)
    return cast("T", PixelMaps(maps, torch.cat([first.known, second.known]), tags))


def _check_classes(before: ImageSet[T], after: ImageSet[T]) -> None:
    """Refuses to leave a class without a label to learn from."""
    if not isinstance(before.labels, Tensor) or not isinstance(after.labels, Tensor):
        if not bool(after.known.any()):
            raise _nothing_left("no picture is left")
        return
    lost = set(before.labels.unique().tolist()) - set(after.labels.unique().tolist()) - {-1}
    if lost:
        raise _nothing_left(f"{len(lost)} of the classes are left without a label")


def _nothing_left(what: str) -> DataError:
    return DataError(
        f"When labels are held out for the promise, {what} to learn from.",
        "at least one label of each class beside those that are held out",
        "hold out fewer (calibration), label more, or take another seed.",
    )
