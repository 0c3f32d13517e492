"""Folder pairs: pictures, and a mask file of the same name for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.faults import Faults
from leaven.data.label_maps import EncodedMaps, mask_size, other_size
from leaven.data.listing import some
from leaven.data.readers.class_names import class_names
from leaven.data.readers.mask_classes import mask_classes
from leaven.data.readers.picture_sizes import PictureFiles
from leaven.data.readers.tree import (
    IMAGE_FOLDERS,
    Tree,
    by_stem,
    lies_in,
    listed_splits,
    short_names,
    split_of_path,
    unlisted_note,
)
from leaven.data.readers.voc import split_lists
from leaven.errors import DataError
from leaven.plain import counted

MASK_FOLDERS = frozenset(
    {"masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "gt"}
)
"""The folder names, in lower case, that hold masks."""

_OTHER_FOLDERS = frozenset({"segmentationobject", "instances"})
_LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif", ".webp"}


def mask_files(labels: Tree, *, named: bool) -> list[str]:
    """The pictures in folders of masks; in any folder when ``labels`` was ``named`` as one."""
    return [
        name
        for name in labels.pictures()
        if named or (lies_in(name, MASK_FOLDERS) and not lies_in(name, _OTHER_FOLDERS))
    ]


def read_mask_folders(tree: Tree, labels: Tree, void: int | None = None) -> AnnotatedListing:
    """Pictures in ``images`` (``img``, ``JPEGImages``) with a mask of the same name in ``masks``
    (``labels``, ``annotations``, ``SegmentationClass``).

    A mask has the value or index of the palette as the class, and 255 where nothing is said; or
    colours, which classes.json explains. The classes are those of classes.json, classes.txt or
    labelmap.txt, where the class ``void`` is void; else the numbers up to the highest value. Masks
    of 0 and 255 alone, with two classes or none named, are background and foreground. A picture
    without a mask has no label. The splits are those of ``ImageSets/Segmentation`` and of
    ``train.txt``, ``val.txt`` and ``test.txt``, else of the folders, else train.

    Args:
        tree: the folder of the pictures.
        labels: the folder of the masks, often the same.
        void: a further value that says nothing.

    Raises:
        DataError: a mask belongs to no picture, has another size than its picture, or is lossy.
    """
    photos = tree.photos(labels, MASK_FOLDERS | _OTHER_FOLDERS)
    masks = mask_files(labels, named=labels.root != tree.root)
    check_lossless(masks, labels.root)
    found = PictureFiles.of(tree.root, photos)
    stems = by_stem(photos, IMAGE_FOLDERS, "a mask")
    files = {
        stem: labels.root / name for stem, name in by_stem(masks, MASK_FOLDERS, "a picture").items()
    }
    check_pictures(files, stems, labels.root)
    by_picture = {stems[stem]: file for stem, file in files.items()}
    sources = [by_picture.get(name) for name in found.files]
    check_sizes(sources, found)
    said = mask_classes(class_names(tree), sources, found.files, void)
    known = torch.tensor([source is not None for source in sources], dtype=torch.bool)
    splits = listed_splits(tree, split_lists(tree, "segmentation"), stems)
    return AnnotatedListing(
        name=tree.root.resolve().name,
        sources=found.sources,
        names=short_names(found.files),
        splits=[splits.get(name) or split_of_path(name) or "train" for name in found.files],
        classes=said.classes,
        sizes=found.sizes,
        known=known,
        maps=EncodedMaps(sources, found.files, found.sizes, said.code),
        notes=(*found.notes, *said.notes, *unlisted_note(found.files, splits)),
    )


def check_pictures(files: dict[str, Path], stems: dict[str, str], where: Path) -> None:
    """Refuses mask files, by their stems, that belong to no picture.

    Raises:
        DataError: there are such.
    """
    alone = [
        file.relative_to(where).as_posix() for stem, file in files.items() if stem not in stems
    ]
    if alone:
        raise DataError(
            f"{counted(len(alone), 'mask')} of {where} without a picture: {some(alone)}.",
            "a picture of the same name for each",
            "add the pictures, or remove the masks.",
        )


def check_sizes(masks: Sequence[Path | None], pictures: PictureFiles) -> None:
    """Refuses masks of another size than their pictures, from their headers.

    Raises:
        DataError: there are such, or some cannot be read.
    """
    faults = Faults()
    for mask, name, size in zip(masks, pictures.files, pictures.sizes.tolist(), strict=True):
        with faults:
            if mask is not None and (found := mask_size(mask, str(mask))) != tuple(size):
                raise other_size(name, found, size, pictures.root / name)
    faults.check()


def check_lossless(masks: Sequence[str], where: Path) -> None:
    """Refuses masks in formats that change values.

    Raises:
        DataError: there are such.
    """
    lossy = [name for name in masks if Path(name).suffix.lower() in _LOSSY]
    if lossy:
        raise DataError(
            f"{counted(len(lossy), 'mask')} of {where} in a lossy format: {some(lossy)}.",
            "PNG, whose values are what was drawn",
            "write the masks as PNG from where they were drawn.",
        )
