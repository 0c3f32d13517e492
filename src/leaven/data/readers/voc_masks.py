"""Pascal VOC folders of masks: the number of the object and its class, for each pixel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np
import torch
from numpy.typing import NDArray

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.faults import Faults
from leaven.data.formats.masks import palette
from leaven.data.label_maps import BACKGROUND, VOID_NAMES, MaskCode, classes_of, stored_values
from leaven.data.listing import some
from leaven.data.readers.box_rows import BoxRows
from leaven.data.readers.class_names import ClassNames, class_names
from leaven.data.readers.instance_maps import instances_of
from leaven.data.readers.mask_folders import check_lossless, check_pictures, check_sizes
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
from leaven.data.readers.voc import MASK_FOLDERS, believed, split_lists, xml_of_pictures
from leaven.errors import DataError
from leaven.labels.pixels import VOID
from leaven.plain import counted

OBJECTS = "SegmentationObject"
CLASSES = "SegmentationClass"

_BORDER = {(224 << 16) + (224 << 8) + 192: VOID}
"""The colour of the value 255."""

_NUMBERS = MaskCode(
    MaskCode.of(range(VOID)).values,
    f"object numbers from 1 to {VOID - 1}, 0 for none and {VOID} at borders, or VOC's colours",
    {(r << 16) + (g << 8) + b: value for value, (r, g, b) in enumerate(palette().tolist())},
)


@dataclass(frozen=True)
class _Object:
    """A mask: of which picture, its number there, the value of its class, run lengths and box."""

    picture: str
    number: int
    value: int
    run: bytes
    box: list[float]

    @property
    def where(self) -> str:
        return f"The object {self.number} of {self.picture}"


def voc_maps(labels: Tree, folder: str) -> list[str]:
    """The pictures in the folders called ``folder``, which is ``OBJECTS`` or ``CLASSES``."""
    return [name for name in labels.pictures() if lies_in(name, frozenset({folder.lower()}))]


def read_voc_masks(tree: Tree, labels: Tree) -> AnnotatedListing:
    """Pictures in ``JPEGImages`` with a PNG in ``SegmentationObject`` and one in
    ``SegmentationClass``.

    The value of the first is the number of the object, of the second its class: 0 is nothing and 255
    the border around objects, which belongs to none. Both may be in VOC's colours. The class of an
    object is that of its pixels. The boxes are those of the masks.

    The names of the classes are those of classes.json, classes.txt or labelmap.txt, with or without
    ``background``; else those of the objects in ``Annotations``, where the k-th is the object k; else
    the values. Of that object ``difficult`` is ``crowd``, and ``score``, ``weight`` and ``source`` are
    taken as by ``read_voc``. A picture without maps has no label. The splits are those of
    ``ImageSets/Segmentation``, else of the folders, else train.

    Args:
        tree: the folder of the pictures.
        labels: the folder of the maps and the XML files, often the same.

    Raises:
        DataError: a map is alone, belongs to no picture, has another size or a foreign value, or an
            object has no class or several.
    """
    photos = tree.photos(labels, MASK_FOLDERS)
    found = PictureFiles.of(tree.root, photos)
    stems = by_stem(photos, IMAGE_FOLDERS, "maps")
    objects, classes = _pairs(labels, stems, found)
    said = class_names(tree)
    names, code = _classes(said)
    masks, faults = list[_Object](), Faults()
    for picture, file in objects.items():
        with faults:
            masks += _objects(picture, file, classes[picture], found, code, names)
    faults.check()
    annotations = {
        picture: file.root.findall("object")
        for picture, file in xml_of_pictures(labels, stems).items()
    }
    notes: list[str] = []
    if said is None:
        names, notes = _names_of_objects(masks, annotations)
    rows, unmatched = BoxRows(found.sizes, masks=True), []
    for one in masks:
        label, details = one.value - 1, {}
        match = _named(annotations.get(one.picture, []), one.number)
        with faults:
            if match is not None and _name(match) == names[label]:
                details = believed(match, one.where)
            elif one.picture in annotations:
                unmatched.append(one.where)
            rows.add(found.rows[one.picture], one.box, label, one.where, run=one.run, **details)
    faults.check()
    known = torch.tensor([name in objects for name in found.files], dtype=torch.bool)
    splits = listed_splits(tree, split_lists(tree, "segmentation"), stems)
    return AnnotatedListing(
        name=tree.root.resolve().name,
        sources=found.sources,
        names=short_names(found.files),
        splits=[splits.get(name) or split_of_path(name) or "train" for name in found.files],
        classes=names,
        sizes=found.sizes,
        known=known,
        boxes=rows.labels(known),
        notes=(
            *found.notes,
            *rows.notes,
            *notes,
            *_notes(unmatched, annotations, objects),
            *unlisted_note(found.files, splits),
        ),
    )


# -- files ----------------------------------------------------------------------------------------


def _pairs(
    labels: Tree, stems: dict[str, str], found: PictureFiles
) -> tuple[dict[str, Path], dict[str, Path]]:
    """The object map and the class map of each picture that can be read and has them."""
    objects, classes = (_of_pictures(labels, folder, stems) for folder in (OBJECTS, CLASSES))
    _check_both(objects, OBJECTS, classes, CLASSES, labels.root)
    _check_both(classes, CLASSES, objects, OBJECTS, labels.root)
    for files in (objects, classes):
        for picture in found.unreadable & files.keys():
            del files[picture]
        check_sizes([files.get(name) for name in found.files], found)
    return objects, classes


def _of_pictures(labels: Tree, folder: str, stems: dict[str, str]) -> dict[str, Path]:
    """The maps in ``folder`` by their pictures."""
    maps = voc_maps(labels, folder)
    check_lossless(maps, labels.root)
    by_name = by_stem(maps, frozenset({folder.lower()}), "a picture")
    files = {stem: labels.root / name for stem, name in by_name.items()}
    check_pictures(files, stems, labels.root)
    return {stems[stem]: file for stem, file in files.items()}


def _check_both(
    files: dict[str, Path], folder: str, others: dict[str, Path], other: str, root: Path
) -> None:
    """Refuses pictures with a map in ``folder`` alone.

    Raises:
        DataError: there are such.
    """
    if alone := sorted(files.keys() - others.keys()):
        raise DataError(
            f"{len(alone)} of {len(files)} pictures with a map in {folder} of {root} have none in "
            f"{other}: {some(alone)}.",
            f"a map in {OBJECTS} and one in {CLASSES} for each of these pictures",
            f"add the maps of {other}, or remove those of {folder}; a class per pixel alone is "
            "--task segmentation.",
        )


# -- classes --------------------------------------------------------------------------------------


def _classes(said: ClassNames | None) -> tuple[tuple[str, ...], MaskCode]:
    """The classes of objects, and the code in which 0 is background and i + 1 the class i."""
    if said is None:
        return (), MaskCode.of(range(VOID))
    names, colours = said.names, said.colours
    if BACKGROUND not in [name.lower() for name in names]:
        names = (BACKGROUND, *names)
        colours = None if colours is None else ((0, 0, 0), *colours)
    values, things = [], []
    for name in names:
        if name.lower() in VOID_NAMES:
            values.append(VOID)
        elif name.lower() == BACKGROUND:
            values.append(0)
        else:
            things.append(name)
            values.append(len(things))
    if not 1 <= len(things) < VOID:
        raise DataError(
            f"{said.file} has {len(things)} classes beside {BACKGROUND} and void.",
            f"1 to {VOID - 1} classes of objects",
            "correct the list of classes.",
        )
    code = MaskCode.of(values, colours=colours)
    if code.colours is not None:
        code = replace(code, colours=_BORDER | code.colours)
    return tuple(things), code


def _names_of_objects(
    masks: Sequence[_Object], annotations: dict[str, list[Element]]
) -> tuple[tuple[str, ...], list[str]]:
    """The names of the values: those of the XML files where all agree, else the numbers."""
    pairs = {
        (one.value, _name(match))
        for one in masks
        if (match := _named(annotations.get(one.picture, []), one.number)) is not None
    }
    count = max((one.value for one in masks), default=1)
    names = {str(value): value for value in range(1, count + 1)}
    agreed = dict(pairs)
    alike = len(agreed) == len({name for _, name in pairs}) == len(pairs)
    if pairs and alike and "" not in agreed.values():
        kept = {str(v) for v in range(1, count + 1) if v not in agreed}
        if not kept & set(agreed.values()):
            note = "No file lists the classes; they are called as the objects of the XML files."
            return tuple(agreed.get(value, str(value)) for value in names.values()), [note]
    return tuple(names), [f"No file names the classes of the masks; they are 1 to {count}."]


# -- objects --------------------------------------------------------------------------------------


def _objects(
    picture: str,
    objects: Path,
    classes: Path,
    found: PictureFiles,
    code: MaskCode,
    names: Sequence[str],
) -> list[_Object]:
    """The objects of a picture."""
    height, width = found.sizes[found.rows[picture]].tolist()
    numbered = classes_of(stored_values(objects, str(objects)), _NUMBERS, str(objects))
    values = classes_of(stored_values(classes, str(classes)), code, str(classes))
    of_object = _values_of_objects(numbered, values, picture, names)
    inner = np.where(numbered == VOID, 0, numbered)
    return [
        _Object(picture, number, of_object[number], run, box)
        for run, number, box in zip(
            *instances_of(inner, (height, width), picture, found.root / picture), strict=True
        )
    ]


def _values_of_objects(
    numbered: NDArray[np.uint8], values: NDArray[np.uint8], picture: str, names: Sequence[str]
) -> dict[int, int]:
    """The class of each object number, from the pixels where both are said.

    Raises:
        DataError: an object has no class, or several.
    """
    together = np.unique(numbered.astype(np.int64) * (VOID + 1) + values)
    of_object: dict[int, list[int]] = {}
    for number, value in zip((together // (VOID + 1)).tolist(), (together % (VOID + 1)).tolist()):
        if 0 < number < VOID:
            said = of_object.setdefault(number, [])
            said += [] if value == VOID else [value]
    for number, said in of_object.items():
        if len(said) != 1 or said == [0]:
            shown = [names[v - 1] if 0 < v <= len(names) else v or BACKGROUND for v in said]
            pixels = f"pixels of {' and '.join(map(str, shown))}" if len(said) > 1 else "no class"
            raise DataError(
                f"The object {number} of {picture} has {pixels} in {CLASSES}.",
                f"one class in {CLASSES} for all pixels of an object of {OBJECTS}",
                "correct one of the two maps.",
            )
    return {number: said[0] for number, said in of_object.items()}


def _named(objects: Sequence[Element], number: int) -> Element | None:
    """The object of an XML file that is called ``number``, from 1."""
    return objects[number - 1] if number <= len(objects) else None


def _name(one: Element) -> str:
    return (one.findtext("name") or "").strip()


def _notes(
    unmatched: Sequence[str], annotations: Iterable[str], objects: dict[str, Path]
) -> list[str]:
    notes = []
    if unmatched:
        notes.append(
            f"{counted(len(unmatched), 'mask')} without an object of their number and class in the "
            f"XML files, taken as not difficult: {some(unmatched)}."
        )
    boxes = sorted(PurePosixPath(name).name for name in set(annotations) - set(objects))
    if boxes:
        notes.append(
            f"{counted(len(boxes), 'picture')} with boxes but no masks, unlabelled here: {some(boxes)}."
        )
    return notes
