"""From a listing to an image set: what shape the pictures get, and where they are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Generic, Protocol

import psutil
import torch
from torch import Tensor

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.dataset import ImageSet, T
from leaven.data.files import FilePixels, PictureError, PictureInfo, check_end, decode, pool, probe
from leaven.data.listing import Listing, absent_note, allowed_unreadable, some
from leaven.data.map_files import FoundMaps, looked_through, map_pixels
from leaven.data.pixel_maps import PixelMaps
from leaven.data.pixels import MemoryPixels, Pixels
from leaven.data.placement import fitting_shape, placed_boxes
from leaven.data.sources import SourceList, Sources
from leaven.errors import DataError
from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import UNKNOWN
from leaven.plain import counted

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""

LARGEST_KEPT = 96
"""Pictures that all have one size keep it up to this side."""

DEFAULT_SIZE = 64
"""The side that larger pictures and those of several sizes are scaled to."""

LONGEST = 256
"""The longer side that larger pictures are scaled to where labels have places in them."""

_CHUNK = 256


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """Readable pictures with the labels they were given.

    Attributes:
        images: n items; ``truth`` is the label where the data do not tell the two apart.
        splits: n of "train", "val", "test".
        notes: what people should know.
    """

    images: ImageSet[T]
    splits: tuple[str, ...]
    notes: tuple[str, ...]


class Found(Protocol):
    """Pictures that were found and not yet decoded: a ``Listing`` or an ``AnnotatedListing``."""

    @property
    def name(self) -> str: ...

    @property
    def sources(self) -> SourceList: ...

    @property
    def names(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Manner:
    """How pictures are loaded.

    Attributes:
        max_unreadable: the share of pictures that may be unreadable, in [0, 1]; when None 1 %, and
            in small data a few more: see ``allowed_unreadable``.
        memory_limit: bytes for decoded pictures; half of the free memory when None.
        progress: called as headers are read and pictures decoded.
        channels: of the decoded pictures, 1 or 3; when None 1 where all pictures are grey, else 3.
    """

    max_unreadable: float | None = None
    memory_limit: int | None = None
    progress: Progress | None = None
    channels: int | None = None

    @property
    def limit(self) -> int:
        """Bytes for decoded pictures."""
        if self.memory_limit is None:
            return int(psutil.virtual_memory().available) // 2
        return self.memory_limit


@dataclass(frozen=True)
class Pictures:
    """The pictures of a listing that can be read.

    Attributes:
        pixels: n pictures of one shape.
        kept: (n,) int64, which of the listing they are.
        sources, names: of these.
        sizes: (n, 2) int64, height and width as they were found.
        notes: what people should know.
    """

    pixels: Pixels
    kept: Tensor
    sources: Sources
    names: list[str]
    sizes: Tensor
    notes: list[str]


def load(
    listing: Listing, *, image_size: tuple[int, int] | None = None, manner: Manner | None = None
) -> Loaded[Tensor]:
    """Decodes the pictures once into memory where they fit, else arranges to decode on demand.

    Channels: 1 when all pictures are grey, else 3. Size: ``image_size``; else the pictures' own
    when they all have one with sides of at most 96; else 64. See ``decode`` for how it is reached.

    Unreadable pictures are left out and named in the notes, up to what ``allowed_unreadable`` says
    for the ``max_unreadable`` of ``manner``.

    Args:
        listing: n pictures.
        image_size: the wanted height and width, or None.
        manner: how they are loaded.

    Raises:
        DataError: more pictures than that cannot be read.
    """

    def shape_of(sizes: Tensor) -> tuple[int, int]:
        return _small_shape(sizes) if image_size is None else image_size

    found = _pictures(listing, shape_of, manner or Manner(), whole=False)
    labels = listing.labels[found.kept]
    truth = labels.clone() if listing.truth is None else listing.truth[found.kept]
    confidence = listing.model_confidence
    confidence = None if confidence is None else confidence[found.kept]
    images = ImageSet(
        found.pixels, labels, truth, found.names, found.sources, model_confidence=confidence
    )
    if listing.truth is None:
        truth[images.by_model] = UNKNOWN
    return Loaded(images, _splits(listing, found.kept), (*listing.notes, *found.notes))


def load_maps(
    listing: AnnotatedListing,
    *,
    image_size: tuple[int, int] | None = None,
    manner: Manner | None = None,
) -> Loaded[PixelMaps]:
    """Pictures with a class per pixel: the whole picture is shown, see ``leaven.data.placement``.

    Size: ``image_size``; else the pictures' own where they have one with sides of at most 256; else
    the median aspect with a longer side of 256. Label maps are kept in memory where they fit beside
    the pictures.

    A map that is void throughout says nothing: its picture counts as unlabelled, with a note. Maps
    that do not fit into memory are not looked through.

    Args:
        listing: n pictures with label maps.
        image_size, manner: as for ``load``.

    Raises:
        DataError: too many pictures cannot be read, or a label map cannot.
    """
    assert listing.maps is not None
    manner = manner or Manner()
    found = _whole(listing, image_size, manner)
    _, height, width = found.pixels.shape
    known = listing.known[found.kept]
    maps = map_pixels(listing.maps, found.kept, known, (height, width), manner.limit)
    void, there = looked_through(maps, known)
    labels = PixelMaps(maps, known & ~void)
    images = _images(found, labels, FoundMaps.of(listing.maps, found.kept))
    notes = [*listing.notes, *found.notes, *absent_note(listing.classes, there)]
    if saying_nothing := [found.names[item] for item in void.nonzero().squeeze(1).tolist()]:
        masks = counted(len(saying_nothing), "mask")
        notes.append(
            f"{masks} {'is' if len(saying_nothing) == 1 else 'are'} void throughout and "
            f"count{'s' if len(saying_nothing) == 1 else ''} as not there: {some(saying_nothing)}."
        )
    return Loaded(images, _splits(listing, found.kept), tuple(notes))


def load_boxes(
    listing: AnnotatedListing,
    *,
    image_size: tuple[int, int] | None = None,
    manner: Manner | None = None,
) -> Loaded[BoxLabels]:
    """Pictures with boxes, or with masks in them, as ``load_maps``; the boxes are moved along.

    Raises:
        DataError: too many pictures cannot be read.
    """
    assert listing.boxes is not None
    found = _whole(listing, image_size, manner or Manner())
    _, height, width = found.pixels.shape
    given = listing.boxes.select(found.kept)
    labels = placed_boxes(given, found.sizes, (height, width))
    notes = [*listing.notes, *found.notes, *_vanished(given, labels, (width, height))]
    images = _images(found, labels, given)
    return Loaded(images, _splits(listing, found.kept), tuple(notes))


def _images(found: Pictures, labels: T, given: BoxLabels | FoundMaps) -> ImageSet[T]:
    """Pictures with labels in their shape, and the same labels as they were found."""
    return ImageSet(
        found.pixels, labels, labels, found.names, found.sources, sizes=found.sizes, as_found=given
    )


def _vanished(given: BoxLabels, placed: BoxLabels, shape: tuple[int, int]) -> list[str]:
    """A note on masks that are too small to be seen in the size that is learnt from."""
    if given.masks is None or placed.masks is None:
        return []
    lost = int(((given.masks.area() > 0) & (placed.masks.area() == 0)).sum())
    if not lost:
        return []
    return [
        f"{counted(lost, 'mask')} {'has' if lost == 1 else 'have'} no pixel left at {shape[0]}x{shape[1]}: "
        "such small things can be learned in larger pictures alone (--image-size)."
    ]


def load_pictures(
    listing: Found, *, image_size: tuple[int, int] | None = None, manner: Manner | None = None
) -> Pictures:
    """Pictures of which nothing is said, cut to one shape as by ``load``.

    Size: ``image_size``; else the pictures' own where they have one with sides of at most 256; else
    the median aspect with a longer side of 256.

    Raises:
        DataError: too many pictures cannot be read.
    """

    def shape_of(sizes: Tensor) -> tuple[int, int]:
        return fitting_shape(sizes, LONGEST) if image_size is None else image_size

    return _pictures(listing, shape_of, manner or Manner(), whole=False)


def _whole(
    listing: AnnotatedListing, image_size: tuple[int, int] | None, manner: Manner
) -> Pictures:
    def shape_of(sizes: Tensor) -> tuple[int, int]:
        return fitting_shape(sizes, LONGEST) if image_size is None else image_size

    return _pictures(listing, shape_of, manner, whole=True)


def _pictures(
    listing: Found, shape_of: Callable[[Tensor], tuple[int, int]], manner: Manner, *, whole: bool
) -> Pictures:
    """The pictures that can be read, in one shape, in memory where they fit."""
    count, failed = len(listing.names), dict[int, str]()
    allowed = allowed_unreadable(count, manner.max_unreadable)
    report = manner.progress or _silent

    infos: list[PictureInfo | None] = [None] * count

    def look(item: int) -> None:
        infos[item] = probe(listing.sources[item], listing.names[item])

    _each(range(count), look, failed, lambda done: report(done, 2 * count))
    if len(failed) == count:
        _refuse(listing, failed, allowed)

    readable = [info for info in infos if info is not None]
    sizes = torch.tensor([(info.height, info.width) for info in readable])
    channels = manner.channels or (1 if all(info.grey for info in readable) else 3)
    shape = (channels, *shape_of(sizes))
    kept = torch.tensor([item for item in range(count) if item not in failed])

    def tell(done: int) -> None:
        report(count + done + len(failed) * (done == len(kept)), 2 * count)

    in_memory = len(kept) * shape[0] * shape[1] * shape[2] <= manner.limit
    if in_memory:
        images = _decode_all(listing, kept, shape, failed, tell, whole)
    else:
        _check_all(listing, kept, failed, tell)
    _refuse(listing, failed, allowed)

    left = torch.tensor([item not in failed for item in kept.tolist()])
    kept, sizes = kept[left], sizes[left]
    sources = Sources(listing.sources, kept)
    names = [listing.names[item] for item in kept.tolist()]
    pixels: Pixels = images if in_memory else FilePixels(sources, names, shape, whole=whole)
    notes = _notes(listing, failed, sizes, shape, whole)
    return Pictures(pixels, kept, sources, names, sizes, notes)


def _splits(listing: Listing | AnnotatedListing, kept: Tensor) -> tuple[str, ...]:
    return tuple(listing.splits[item] for item in kept.tolist())


def _decode_all(
    listing: Found,
    kept: Tensor,
    shape: tuple[int, int, int],
    failed: dict[int, str],
    tell: Callable[[int], None],
    whole: bool,
) -> MemoryPixels:
    channels, height, width = shape
    images = torch.empty((len(kept), *shape), dtype=torch.uint8)
    rows, items = images.numpy(), kept.tolist()
    lost: dict[int, str] = {}

    def fill(row: int) -> None:
        item = items[row]
        name = listing.names[item]
        rows[row] = decode(listing.sources[item], (height, width), channels, name, whole=whole)

    _each(range(len(items)), fill, lost, tell)
    failed.update({items[row]: reason for row, reason in lost.items()})
    if not lost:
        return MemoryPixels(images)
    intact = torch.tensor([row for row in range(len(items)) if row not in lost], dtype=torch.int64)
    return MemoryPixels(images, intact)


def _check_all(
    listing: Found,
    kept: Tensor,
    failed: dict[int, str],
    tell: Callable[[int], None],
) -> None:
    def check(item: int) -> None:
        check_end(listing.sources[item], listing.names[item])

    _each(kept.tolist(), check, failed, tell)


def _each(
    items: Sequence[int],
    action: Callable[[int], None],
    failed: dict[int, str],
    tell: Callable[[int], None],
) -> None:
    """Runs ``action`` on every item with the pool of threads; unreadable ones go to ``failed``."""

    def run(chunk: Sequence[int]) -> int:
        for item in chunk:
            try:
                action(item)
            except PictureError as error:
                failed[item] = error.reason
        return len(chunk)

    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    done = 0
    for future in as_completed([pool().submit(run, chunk) for chunk in chunks]):
        done += future.result()
        tell(done)


def _small_shape(sizes: Tensor) -> tuple[int, int]:
    """The pictures' own size where they have one that is small."""
    if bool((sizes == sizes[0]).all()) and int(sizes.max()) <= LARGEST_KEPT:
        return int(sizes[0, 0]), int(sizes[0, 1])
    return DEFAULT_SIZE, DEFAULT_SIZE


def _refuse(listing: Found, failed: dict[int, str], allowed: int) -> None:
    count = len(listing.names)
    if len(failed) <= allowed and len(failed) < count:
        return
    raise DataError(
        f"{len(failed)} of {count} pictures of {listing.name} could not be read: "
        f"{_listed(listing, failed)}.",
        f"at most {allowed} unreadable {'picture' if allowed == 1 else 'pictures'}",
        "replace or remove these files, or allow a larger share of unreadable pictures "
        "(--max-unreadable).",
    )


def _listed(listing: Found, failed: dict[int, str]) -> str:
    return some([f"{listing.names[item]} ({failed[item]})" for item in sorted(failed)])


def _notes(
    listing: Found,
    failed: dict[int, str],
    sizes: Tensor,
    shape: tuple[int, int, int],
    whole: bool,
) -> list[str]:
    notes, (_, height, width) = [], shape
    if failed:
        were = "was" if len(failed) == 1 else "were"
        notes.append(
            f"{len(failed)} of {len(listing.names)} pictures could not be read and {were} skipped: "
            f"{_listed(listing, failed)}."
        )
    found = {(wide, high) for high, wide in sizes.tolist()}
    if found != {(width, height)}:
        areas = sorted(found, key=lambda size: size[0] * size[1])
        of = "x".join(map(str, areas[0]))
        if len(found) > 1:
            of += " to " + "x".join(map(str, areas[-1]))
        cut = "" if whole else " and cut"
        notes.append(f"The pictures, {of}, were scaled{cut} to {width}x{height}.")
    return notes


def _silent(done: int, total: int) -> None:
    """No progress is wanted."""
