"""Pictures in pairs: in two folders under equal names, or side by side in one file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from leaven.data.files import PictureError, open_picture, probe
from leaven.data.listing import SPLITS, some
from leaven.data.readers.folder import find_pictures
from leaven.data.readers.tree import Tree
from leaven.data.sources import Source, SourceList
from leaven.errors import DataError

KNOWN = (("a", "b"), ("input", "target"), ("inputs", "targets"), ("source", "target"), ("x", "y"))
"""Names of folders, in lower case, that say which picture is given and which is to be made."""

_EXPECTED = (
    "two folders, such as A and B, with pictures of equal names; or pictures that show both side by "
    "side"
)
_TOGETHER = re.compile(rf"({'|'.join(SPLITS)})[-_]?([ab])", re.IGNORECASE)
_LOOKED_AT = 32


@dataclass(frozen=True)
class PictureList:
    """Pictures that were found and not yet decoded."""

    name: str
    sources: SourceList
    names: Sequence[str]


@dataclass(frozen=True)
class PairListing:
    """``n`` pairs: pictures ``first[i]`` and ``second[i]`` belong together.

    Attributes:
        splits: n of "train", "val", "test".
        notes: what people should know.
    """

    first: PictureList
    second: PictureList
    splits: Sequence[str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Place:
    """What the path of a picture says: in which of two folders, its pair, and its split."""

    side: str
    pair: str
    split: str


def read_paired_folders(path: Path, other: Path | None = None) -> PairListing:
    """Two folders with pictures of equal names (the endings may differ).

    They are called ``A`` and ``B`` (or input and target, source and target, x and y), above or below
    folders of splits: ``A/train/1.png`` and ``B/train/1.png``, ``train/A/1.png``, ``trainA/1.png``.
    Two folders of other names are taken in alphabetical order. A picture without a partner is left
    out, and a note says so.

    Args:
        path: the folder of both, or with ``other`` that of the pictures that are given.
        other: the folder of those that are to be made.

    Raises:
        DataError: there are not two such folders, or fewer pairs than pictures without a partner.
    """
    if other is not None:
        first, second = _of_folder(path), _of_folder(other)
        return _paired(path.resolve().name, (path, other), first, second, ())
    found = _sides(Tree.of(path).pictures())
    if found is None:
        raise DataError(
            f"{path} does not hold two folders of pictures.",
            _EXPECTED,
            "give the folder above both, or the second one with --annotations.",
        )
    sides, places = found
    first, second = (
        {place.pair: (path / name, place.split) for name, place in places if place.side == side}
        for side in sides
    )
    count = sum(1 for _ in places)
    if len(first) + len(second) != count:
        raise DataError(
            f"{count - len(first) - len(second)} pictures of {path} differ from others in the ending "
            "of their file alone.",
            "one picture of each name in each folder",
            "remove one of them.",
        )
    note = f"Pairs go from {sides[0]}/ to {sides[1]}/; --swap turns them round."
    return _paired(path.resolve().name, (path, path), first, second, (note,))


def holds_pairs(tree: Tree) -> bool:
    """Whether pictures lie in two folders under some equal names."""
    found = _sides(tree.pictures())
    if found is None:
        return False
    sides, places = found
    first, second = ({p.pair for _, p in places if p.side == side} for side in sides)
    return bool(first & second)


def has_known_names(tree: Tree) -> bool:
    """Whether the two folders are called as in ``KNOWN``."""
    found = _sides(tree.pictures())
    return found is not None and tuple(side.lower() for side in found[0]) in KNOWN


def read_side_by_side(path: Path) -> PairListing:
    """Pictures that show both of a pair, the given one at the left; splits by top folders.

    Raises:
        DataError: there is no picture.
    """
    found = find_pictures(path)
    files = [path / name for name in found.pictures]
    splits = [_split_of(name) for name in found.pictures]
    name = path.resolve().name
    return PairListing(
        PictureList(name, Halves(files, right=False), found.pictures),
        PictureList(name, Halves(files, right=True), found.pictures),
        splits,
        ("Pairs go from the left half of each picture to the right; --swap turns them round.",),
    )


def looks_side_by_side(path: Path, names: Sequence[str]) -> bool:
    """Whether the pictures, of which some are looked at, are twice as wide as high."""
    try:
        infos = [probe(path / name, name) for name in names[:_LOOKED_AT]]
    except PictureError:
        return False
    return bool(infos) and all(info.width == 2 * info.height for info in infos)


class Halves:
    """The left or the right halves of pictures.

    Args:
        files: the pictures.
        right: which half.
    """

    def __init__(self, files: Sequence[Path], *, right: bool) -> None:
        self.files, self.right = files, right

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> Source:
        file = self.files[index]
        try:
            with open_picture(file) as image:
                image.load()
                whole = ImageOps.exif_transpose(image)
        # Who decodes what cannot be read says why; here it would be a half of nothing.
        except Exception:
            return file
        if whole.width % 2:
            raise DataError(
                f"The picture {file} is {whole.width} pixels wide.",
                "two pictures of one size side by side, so an even width",
                "cut it, or remove it.",
            )
        return _half(whole, self.right)


def _half(whole: Image.Image, right: bool) -> Image.Image:
    middle = whole.width // 2
    return whole.crop(
        (middle, 0, whole.width, whole.height) if right else (0, 0, middle, whole.height)
    )


def _sides(names: Sequence[str]) -> tuple[tuple[str, str], list[tuple[str, _Place]]] | None:
    """The names of the two folders, the given one first, and the place of each picture in them."""
    parted = [(name, *_parts(name)) for name in names]
    there = {folder.lower() for _, _, folders in parted for folder in folders}
    known = next((pair for pair in KNOWN if there >= set(pair)), None)
    places, spelled = [], dict[str, str]()
    for name, split, folders in parted:
        if known is None:
            side = folders[0] if folders else ""
        else:
            side = next((folder for folder in folders if folder.lower() in known), "")
        if not side:
            return None
        folders.remove(side)
        spelled.setdefault(side.lower(), side)
        stem = PurePosixPath(*folders, PurePosixPath(name).stem).as_posix()
        places.append((name, _Place(spelled[side.lower()], f"{split}/{stem}", split)))
    if len(spelled) != 2:
        return None
    first, second = known or sorted(spelled)
    return (spelled[first], spelled[second]), places


def _parts(name: str) -> tuple[str, list[str]]:
    """The split that a path says, and its other folders; ``trainA`` is the split and ``A``."""
    split, folders = "train", []
    for folder in PurePosixPath(name).parts[:-1]:
        if together := _TOGETHER.fullmatch(folder):
            split = SPLITS[together[1].lower()]
            folders.append(together[2])
        elif folder.lower() in SPLITS:
            split = SPLITS[folder.lower()]
        else:
            folders.append(folder)
    return split, folders


def _split_of(name: str) -> str:
    return _parts(name)[0]


def _of_folder(path: Path) -> dict[str, tuple[Path, str]]:
    """File and split of each picture of a folder, by what names its pair."""
    found: dict[str, tuple[Path, str]] = {}
    for name in find_pictures(path).pictures:
        split, folders = _parts(name)
        pair = PurePosixPath(split, *folders, PurePosixPath(name).stem).as_posix()
        if pair in found:
            raise DataError(
                f"{found[pair][0]} and {path / name} differ in their endings alone.",
                "one picture of each name",
                "rename or remove one of them.",
            )
        found[pair] = (path / name, split)
    return found


def _paired(
    name: str,
    roots: tuple[Path, Path],
    first: dict[str, tuple[Path, str]],
    second: dict[str, tuple[Path, str]],
    notes: tuple[str, ...],
) -> PairListing:
    both = sorted(first.keys() & second.keys())
    alone = [
        file.relative_to(root).as_posix()
        for root, mine, theirs in ((roots[0], first, second), (roots[1], second, first))
        for pair, (file, _) in sorted(mine.items())
        if pair not in theirs
    ]
    if len(both) < max(1, len(alone)):
        raise DataError(
            f"{len(both)} pairs were found and {len(alone)} pictures without a partner: "
            f"{some(alone)}.",
            f"{_EXPECTED}; {len(first)} pictures are given and {len(second)} are to be made",
            "give partners equal names, or remove pictures that have none.",
        )
    if alone:
        has = "picture has" if len(alone) == 1 else "pictures have"
        notes = (*notes, f"{len(alone)} {has} no partner and were left out: {some(alone)}.")
    splits = [first[pair][1] for pair in both]
    names = [first[pair][0].relative_to(roots[0]).as_posix() for pair in both]
    others = [second[pair][0].relative_to(roots[1]).as_posix() for pair in both]
    return PairListing(
        PictureList(name, [first[pair][0] for pair in both], names),
        PictureList(name, [second[pair][0] for pair in both], others),
        splits,
        notes,
    )
