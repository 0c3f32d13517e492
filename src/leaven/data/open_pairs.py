"""The way in for pictures in pairs: what is given, and what it is to become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from leaven.cielab import same_lightness
from leaven.data.changed_pixels import ChangedPixels, painted
from leaven.data.dataset import Data, ImageSet
from leaven.data.edges import edges
from leaven.data.embedded import DIGITS
from leaven.data.embedded_pairs import SIDE, listed_told_scenes
from leaven.data.embedded_scenes import SCENES
from leaven.data.loading import Found, Loaded, Manner, Pictures, load_maps, load_pictures
from leaven.data.open import check_count, check_share, read_listing, sides
from leaven.data.open_annotated import Division, find_listing
from leaven.data.pairs import PairedPictures
from leaven.data.readers.annotated_tables import column_names, open_tables
from leaven.data.readers.mask_folders import mask_files
from leaven.data.readers.paired_folders import (
    PairListing,
    PictureList,
    has_known_names,
    holds_pairs,
    looks_side_by_side,
    read_paired_folders,
    read_side_by_side,
)
from leaven.data.readers.parquet import split_files
from leaven.data.readers.tree import Tree
from leaven.data.readers.vision import PREFIX
from leaven.errors import DataError, nearest

Pairing = Literal["auto", "folders", "side-by-side", "maps", "grey", "edges"]
"""Where pairs come from: two folders; files that show both; label maps and their photos; pictures
without and with their colours; edges and their pictures."""

LEAST_SIDE = 32
"""Of scenes."""

_TABLES = (".parquet", ".pq")
_MASK_COLUMN = "mask"


def open_pairs(
    source: str | Path | None,
    *,
    pairs: str = "auto",
    swap: bool = False,
    other: Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    test_share: float | None = None,
    val_share: float = 0.0,
    flip: bool | None = None,
    manner: Manner | None = None,
) -> Data[PairedPictures]:
    """Reads pairs of pictures and holds some out.

    - ``folders``: see ``read_paired_folders``. Both pictures of a pair have one size.
    - ``side-by-side``: see ``read_side_by_side``.
    - ``maps``: what ``open_maps`` reads; a label map, painted in the colours of VOC, is to become its
      photo. Pictures without a map are left out. ``classes`` of the data are those of the maps.
    - ``grey``: of any pictures with colours their greys, which are to become coloured again.
    - ``edges``: of any pictures their edges, see ``leaven.data.edges``.

    With ``swap`` they go the other way, for example from photos to label maps. Test items are held
    out as by ``open_annotated``: where the data have no split of their own 0.2 of the pairs, 0.3 of
    the scenes.

    Args:
        source: None or ``"scenes"`` for the label maps of embedded scenes (see
            ``listed_told_scenes``), ``"digits"``, or a path.
        pairs: see above; ``auto`` finds out between the first three.
        swap: see above.
        other: ``folders``: the folder of the pictures that are to be made, where ``source`` has those
            that are given; ``maps``: the annotations.
        image_size: the side, or height and width; else their own where they have one size up to 256,
            and their aspect with a longer side of 256 where not; 64 for the scenes.
        seed: of all choices, at least 0.
        test_share, val_share: shares of the pairs to hold out, in [0, 1).
        flip: whether mirrored pairs are pairs as well; true when None, but for scenes and digits.
        manner: how pictures are loaded.

    Raises:
        DataError: the data or an argument cannot be used; says what to do.
    """
    check_count("seed", seed, 0)
    check_share("test_share", test_share, below=True)
    check_share("val_share", val_share, below=True)
    size, manner = sides(image_size), manner or Manner()
    kind = find_pairing(source, pairs, other)
    embedded = source in (None, SCENES, DIGITS)
    name, classes, loaded = _loaded(kind, source, other, size, seed, manner)
    if swap:
        loaded = replace(loaded, images=_swapped(loaded.images))
    division = Division(loaded, seed)
    division.take_test(test_share, experiment=embedded)
    division.take_val(val_share)
    if not len(division.train):
        raise DataError(
            f"{name} has no pair to learn from.",
            "pairs in the split train",
            "put some into a folder train, or hold out fewer.",
        )
    return division.data(name, classes, flip=not embedded if flip is None else flip)


def find_pairing(source: str | Path | None, pairs: str, other: Path | None = None) -> Pairing:
    """Where the pairs of ``source`` come from.

    Raises:
        DataError: an unknown word, or nothing tells.
    """
    known = get_args(Pairing)
    if pairs not in known:
        raise DataError(f"pairs is {pairs!r}.", ", ".join(known), nearest(pairs, known))
    if pairs != "auto":
        return pairs  # type: ignore[return-value]
    if source is None or source == SCENES:
        return "maps"
    if source != DIGITS and not str(source).startswith(PREFIX):
        found = _pairing_of(Path(source).expanduser(), other)
        if found is not None:
            return found
    raise DataError(
        f"Nothing tells which pictures of {source} belong together.",
        "folders A and B with pictures of equal names, pictures twice as wide as high, or label "
        "maps",
        "say where the pairs come from: --pairs grey (colour them) or edges for any pictures, "
        "folders, side-by-side or maps.",
    )


def _pairing_of(path: Path, other: Path | None) -> Pairing | None:
    if other is not None:
        return "folders" if other.is_dir() else "maps"
    if not path.exists():
        raise DataError(
            f"There is no file or folder {path}.", "pairs of pictures", "check the path."
        )
    if _is_table(path):
        return "maps" if _MASK_COLUMN in column_names(path) else None
    if path.is_file():
        return "maps"
    tree = Tree.of(path)
    if has_known_names(tree):
        return "folders"
    if mask_files(tree, named=False) or tree.ending(".json", ".xml"):
        return "maps"
    if holds_pairs(tree):
        return "folders"
    return "side-by-side" if looks_side_by_side(path, tree.pictures()) else None


def _loaded(
    kind: Pairing,
    source: str | Path | None,
    other: Path | None,
    size: tuple[int, int] | None,
    seed: int,
    manner: Manner,
) -> tuple[str, tuple[str, ...], Loaded[PairedPictures]]:
    """The name and the classes of the data, and the pairs."""
    if kind == "maps":
        return _of_maps(source, other, size, seed, manner)
    if kind in ("grey", "edges"):
        return _of_pictures(kind, source, size, manner)
    path = Path(str(source)).expanduser()
    if not path.is_dir():
        raise DataError(f"There is no folder {path}.", "a folder of pictures", "check the path.")
    listing = (
        read_side_by_side(path) if kind == "side-by-side" else read_paired_folders(path, other)
    )
    return listing.first.name, (), _of_listing(listing, size, manner)


def _of_listing(
    listing: PairListing, size: tuple[int, int] | None, manner: Manner
) -> Loaded[PairedPictures]:
    first = load_pictures(listing.first, image_size=size, manner=manner)
    _, height, width = first.pixels.shape
    second = load_pictures(listing.second, image_size=(height, width), manner=manner)
    mine, theirs = torch.isin(first.kept, second.kept), torch.isin(second.kept, first.kept)
    mine, theirs = mine.nonzero().squeeze(1), theirs.nonzero().squeeze(1)
    _check_sizes(first, second, mine, theirs)
    notes = (*listing.notes, *first.notes, *second.notes)
    lost = len(first.kept) + len(second.kept) - 2 * len(mine)
    if lost:
        notes = (*notes, f"{lost} partners of unreadable pictures were left out.")
    return Loaded(
        _paired(
            first.pixels.subset(mine),
            PairedPictures(second.pixels.subset(theirs), _all(len(mine))),
            [first.names[row] for row in mine.tolist()],
        ),
        tuple(listing.splits[item] for item in first.kept[mine].tolist()),
        tuple(dict.fromkeys(notes)),
    )


def _check_sizes(first: Pictures, second: Pictures, mine: Tensor, theirs: Tensor) -> None:
    """Refuses pairs of two sizes: what one shows would lie elsewhere in the other."""
    other = (first.sizes[mine] != second.sizes[theirs]).any(1).nonzero().squeeze(1).tolist()
    if not other:
        return
    row, pair = int(mine[other[0]]), int(theirs[other[0]])
    (high, wide), (tall, broad) = first.sizes[row].tolist(), second.sizes[pair].tolist()
    raise DataError(
        f"{len(other)} pairs are of two sizes, the first {first.names[row]} of {wide}x{high} and "
        f"{second.names[pair]} of {broad}x{tall}.",
        "pairs of one size, in which the same lies at the same place",
        "scale one of each pair to the other, or remove these pairs.",
    )


def _of_maps(
    source: str | Path | None,
    other: Path | None,
    size: tuple[int, int] | None,
    seed: int,
    manner: Manner,
) -> tuple[str, tuple[str, ...], Loaded[PairedPictures]]:
    if source in (None, SCENES):
        side = SIDE if size is None else max(LEAST_SIDE, *size)
        listing = listed_told_scenes(seed, side)
    else:
        listing = find_listing(source, "segmentation", other, seed, manner.max_unreadable)
    loaded = load_maps(listing, image_size=size, manner=manner)
    known = loaded.images.known
    items, notes = known.nonzero().squeeze(1), loaded.notes
    if len(items) < len(known):
        notes = (*notes, f"{len(known) - len(items)} pictures without a label map were left out.")
    images = loaded.images.subset(items)
    given = ChangedPixels(images.labels.maps, painted, channels=3)
    wanted = PairedPictures(images.pixels, _all(len(items)))
    splits = tuple(loaded.splits[item] for item in items.tolist())
    pairs = _paired(given, wanted, list(images.names))
    return listing.name, listing.classes, Loaded(pairs, splits, notes)


def _of_pictures(
    kind: Pairing, source: str | Path | None, size: tuple[int, int] | None, manner: Manner
) -> tuple[str, tuple[str, ...], Loaded[PairedPictures]]:
    if size is None and source in (None, SCENES):
        size = SIDE, SIDE
    listing, listed, notes = _any_pictures(source)
    found = load_pictures(listing, image_size=size, manner=manner)
    grey = kind == "grey"
    if grey and found.pixels.shape[0] == 1:
        raise DataError(
            f"The pictures of {listing.name} have no colours.",
            "colour pictures, whose greys are to be coloured",
            "take other pictures, or --pairs edges.",
        )
    given = ChangedPixels(found.pixels, same_lightness if grey else edges, channels=1)
    wanted = PairedPictures(found.pixels, _all(len(found.names)), of_grey=grey)
    splits = tuple(listed[item] for item in found.kept.tolist())
    loaded = Loaded(_paired(given, wanted, found.names), splits, (*notes, *found.notes))
    return listing.name, (), loaded


def _any_pictures(
    source: str | Path | None,
) -> tuple[Found, Sequence[str], tuple[str, ...]]:
    """Pictures whatever is said of them, their splits, and notes."""
    if source in (None, SCENES):
        scenes = find_listing(source, "segmentation", None, 0, 0)
        return scenes, scenes.splits, scenes.notes
    path = Path(str(source)).expanduser()
    if _is_table(path):
        sources, names, splits, sized = open_tables(path, []).pictures()
        return PictureList(path.resolve().stem, sources, names), splits, tuple(sized.notes)
    listing = read_listing(source, None, None, need_labels=False)
    return listing, listing.splits, listing.notes


def _is_table(path: Path) -> bool:
    """Whether it is a Parquet file, or a folder of them."""
    if path.is_file():
        return path.suffix.lower() in _TABLES
    return path.is_dir() and bool(split_files(path))


def _paired(given: object, wanted: PairedPictures, names: list[str]) -> ImageSet[PairedPictures]:
    return ImageSet(given, wanted, wanted, names)  # type: ignore[arg-type]


def _swapped(images: ImageSet[PairedPictures]) -> ImageSet[PairedPictures]:
    wanted = PairedPictures(images.pixels, images.labels.known)
    return ImageSet(images.labels.pixels, wanted, wanted, images.names)


def _all(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)
