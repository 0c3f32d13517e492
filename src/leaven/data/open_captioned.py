"""The way in for pictures with captions."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from leaven.data.buckets import WIDEST, fitting
from leaven.data.captioned_listing import CaptionedListing
from leaven.data.dataset import Data, ImageSet
from leaven.data.embedded_captions import listed_captions
from leaven.data.embedded_scenes import SCENES
from leaven.data.files import PictureError, probe
from leaven.data.listing import some
from leaven.data.loading import DEFAULT_SIZE, LARGEST_KEPT, Loaded, Manner, load_pictures
from leaven.data.open import check_count, check_share, sides
from leaven.data.open_annotated import Division
from leaven.data.readers.captioned import read_captioned
from leaven.errors import DataError
from leaven.labels.described import Described

MOST_TEST = 512
"""So many pictures are held out at most where nobody says how many."""

_TEST_SHARE, _LEAST = 0.1, 50
_LOOKED_AT = 256


def open_captioned(
    source: str | Path | None,
    *,
    captions: Path | None = None,
    column: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    test_share: float | None = None,
    val_share: float = 0.0,
    manner: Manner | None = None,
) -> Data[Described]:
    """Reads pictures with captions, and holds items out.

    Test items: those of the split ``test`` where there is one. Else the share ``test_share`` of the
    pictures with captions: a tenth and at most 512 where there are 50, else none. Pictures with a
    ratio of their sides beyond 4 are left out; pictures without a caption stay, and have none.

    Args:
        source: None or ``"scenes"`` for embedded scenes of digits, or a path; see
            ``read_captioned``.
        captions: a file or folder of captions, for pictures that have none beside them.
        column: of the captions in a table.
        image_size: the side of the pictures, or height and width; else their own where they have one
            size up to 96, and 64 where not. Pictures of other sizes are cut to it.
        seed: of all choices.
        test_share: the share to hold out as test, in [0, 1); 0 for none.
        val_share: the share of the captioned pictures to hold out as val, in [0, 1).
        manner: how pictures are loaded.

    Raises:
        DataError: the data or an argument cannot be used; says what to do.
    """
    check_count("seed", seed, 0)
    check_share("test_share", test_share, below=True)
    check_share("val_share", val_share, below=True)
    size = sides(image_size)
    listing = find_captions(source, captions, column, seed)
    found = load_pictures(listing, image_size=size or _own_size(listing), manner=manner)
    said = listing.said.select(found.kept)
    images = ImageSet(found.pixels, said, said, found.names, found.sources, sizes=found.sizes)
    splits = tuple(listing.splits[item] for item in found.kept.tolist())
    images, splits, notes = _without_extremes(images, splits)
    loaded = Loaded(images, splits, (*listing.notes, *found.notes, *notes))
    division = Division(loaded, seed, None)
    if test_share is None and division.test is None:
        known = int(images.known.sum())
        test_share = min(_TEST_SHARE, MOST_TEST / known) if known >= _LEAST else 0.0
    division.take_test(test_share, experiment=False)
    division.take_val(val_share)
    if not bool(division.train.known.any()):
        raise DataError(
            f"No picture of {listing.name} to learn from has a caption.",
            "at least one caption beside those that are held out",
            "write captions with `leaven caption`, or hold out fewer (test_share, val_share).",
        )
    return division.data(listing.name, listing.classes, flip=False)


def find_captions(
    source: str | Path | None, captions: Path | None, column: str | None, seed: int
) -> CaptionedListing:
    """What lies at ``source``, before anything is decoded; see ``open_captioned``.

    Raises:
        DataError: captions are given for the embedded scenes, which have them.
    """
    if source is not None and source != SCENES:
        return read_captioned(Path(source).expanduser(), captions, column)
    if captions is not None or column is not None:
        raise DataError(
            "Captions are given for the embedded scenes, which have captions.",
            "captions of pictures of your own",
            "give the folder of the pictures, or leave the captions out.",
        )
    return listed_captions(seed)


def _own_size(listing: CaptionedListing) -> tuple[int, int]:
    """The size that all pictures have, as far as is looked, where it is small; else a square."""
    count = len(listing.names)
    rows = torch.linspace(0, count - 1, min(count, _LOOKED_AT)).long().tolist()
    found: set[tuple[int, int]] = set()
    for row in rows:
        try:
            info = probe(listing.sources[row], listing.names[row])
        except PictureError:
            continue  # Said when the pictures are loaded.
        found.add((info.height, info.width))
    if len(found) == 1 and max(size := found.pop()) <= LARGEST_KEPT:
        return size
    return DEFAULT_SIZE, DEFAULT_SIZE


def _without_extremes(
    images: ImageSet[Described], splits: tuple[str, ...]
) -> tuple[ImageSet[Described], tuple[str, ...], list[str]]:
    """Without the pictures that are much longer than wide, and a note about them."""
    assert images.sizes is not None
    fits: Tensor = fitting(images.sizes)
    if bool(fits.all()):
        return images, splits, []
    out = [images.names[row] for row in (~fits).nonzero().squeeze(1).tolist()]
    if not bool(fits.any()):
        raise DataError(
            f"All {len(out)} pictures are more than {WIDEST:g} times as long as wide.",
            f"pictures with a ratio of their sides of at most {WIDEST:g}",
            "cut them into pieces.",
        )
    were = "picture is" if len(out) == 1 else "pictures are"
    note = (
        f"{len(out)} {were} more than {WIDEST:g} times as long as wide and left out: {some(out)}."
    )
    kept = images.subset(fits)
    return kept, tuple(split for split, fit in zip(splits, fits.tolist()) if fit), [note]
