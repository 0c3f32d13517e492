"""Pascal VOC folders of boxes: an XML file for each picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import torch

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.faults import Faults
from leaven.data.label_maps import BACKGROUND
from leaven.data.listing import SPLITS, ordered_classes, some
from leaven.data.readers.box_rows import BoxRows, number, share, source_of
from leaven.data.readers.class_names import class_names
from leaven.data.readers.picture_sizes import PictureFiles, annotated_otherwise
from leaven.data.readers.tree import (
    IMAGE_FOLDERS,
    Tree,
    by_stem,
    inside,
    listed_splits,
    short_names,
    split_of_path,
    unlisted_note,
    without_suffix,
)
from leaven.errors import DataError
from leaven.labels.classes import Source
from leaven.plain import counted

ANNOTATION_FOLDERS = frozenset({"annotations"})
"""The folder names, in lower case, that hold the XML files."""

MASK_FOLDERS = frozenset({"segmentationclass", "segmentationobject"})
"""The folder names, in lower case, that hold masks."""


def read_voc(tree: Tree, labels: Tree) -> AnnotatedListing:
    """Pictures with an XML file of the same name, in ``JPEGImages`` and ``Annotations`` or beside.

    VOC counts pixels from 1 and includes the last: the box is ``xmin - 1, ymin - 1, xmax, ymax``.
    ``difficult`` is ``crowd``. The elements ``score``, ``weight`` and ``source`` that ``write_voc``
    adds are taken where they are. A picture without a file has no label; a file without objects
    says that nothing is in the picture. The splits are those of ``ImageSets/Main``, else of the
    folders, else train. The classes are those of classes.json or classes.txt, else the names in
    alphabetical order.

    Args:
        tree: the folder of the pictures.
        labels: the folder of the XML files, often the same.

    Raises:
        DataError: a file is damaged, belongs to no picture, or has a box that cannot be.
    """
    photos = tree.photos(labels, MASK_FOLDERS)
    found = PictureFiles.of(tree.root, photos)
    stems = by_stem(photos, IMAGE_FOLDERS, "an XML file")
    files = xml_of_pictures(labels, stems)
    said = class_names(tree)
    objects = {picture: file.root.findall("object") for picture, file in files.items()}
    names, faults = set[str](), Faults()
    for picture, few in objects.items():
        for one in few:
            with faults:
                names.add(_text(one, "name", files[picture].where))
    faults.check()
    classes = ordered_classes(names) if said is None else said.names
    # Beside masks the list begins with what is no object.
    if classes[:1] == (BACKGROUND,) and BACKGROUND not in names:
        classes = classes[1:]
    if said is not None and names - set(classes):
        raise DataError(
            f"The XML files have the classes {some(sorted(names - set(classes)))}.",
            f"the classes of {said.file}: " + some(classes, 30),
            "correct the names or the list of classes.",
        )
    rows = BoxRows(found.sizes, masks=False)
    place = found.rows
    for picture, file in files.items():
        if picture not in found.unreadable:
            with faults:
                size = rows.size(place[picture])
                _check_size(file, picture, size, found.root / picture)
            for order, one in enumerate(objects[picture], 1):
                with faults:
                    _add(one, rows, place[picture], classes, f"Object {order} of {file.where}")
    faults.check()
    known = torch.tensor([name in files for name in found.files], dtype=torch.bool)
    splits = listed_splits(tree, split_lists(tree, "main"), stems)
    return AnnotatedListing(
        name=tree.root.resolve().name,
        sources=found.sources,
        names=short_names(found.files),
        splits=[splits.get(name) or split_of_path(name) or "train" for name in found.files],
        classes=classes,
        sizes=found.sizes,
        known=known,
        boxes=rows.labels(known),
        notes=(*found.notes, *rows.notes, *unlisted_note(found.files, splits)),
    )


def split_lists(tree: Tree, kind: str) -> dict[str, str]:
    """The split of each list of VOC in ``ImageSets``, and of lists at the top of the folder.

    Args:
        tree: the folder.
        kind: "main" or "segmentation", the folder in ``ImageSets``.
    """
    lists = {}
    for name in tree.ending(".txt"):
        path = PurePosixPath(name)
        folders = [folder.lower() for folder in path.parts[:-1]]
        if path.stem.lower() in SPLITS and folders in ([], ["imagesets", kind]):
            lists[name] = SPLITS[path.stem.lower()]
    return lists


class XmlFile(NamedTuple):
    """An XML file: its path, for errors, and its root."""

    where: str
    root: Element


def xml_of_pictures(labels: Tree, stems: dict[str, str]) -> dict[str, XmlFile]:
    """The XML file of each picture that has one.

    Args:
        labels: the folder of the XML files.
        stems: the pictures by their paths without ending; see ``by_stem``.

    Raises:
        DataError: a file is damaged or belongs to no picture.
    """
    files: dict[str, XmlFile] = {}
    alone, faults = [], Faults()
    for stem, name in by_stem(labels.ending(".xml"), ANNOTATION_FOLDERS, "a picture").items():
        with faults:
            root = _parsed(labels, name)
            picture = stems.get(stem)
            if (text := (root.findtext("filename") or "").strip()) != "":
                said = PurePosixPath(inside(text, f"{labels.root / name}"))
                beside = (PurePosixPath(stem).parent / said).as_posix()
                picture = picture or stems.get(without_suffix(beside))
            if picture is None or picture in files:
                alone.append(name)
            else:
                files[picture] = XmlFile(str(labels.root / name), root)
    faults.check()
    if alone:
        raise DataError(
            f"{counted(len(alone), 'XML file')} of {labels.root} without a picture of their own: "
            f"{some(alone)}.",
            "a picture of the same name for each",
            "add the pictures, or remove the files.",
        )
    return files


def _parsed(labels: Tree, name: str) -> Element:
    text = labels.text(name)
    try:
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("it defines entities")
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise _refused(str(labels.root / name), f"is not XML as VOC has it ({error})") from error
    if root.tag != "annotation":
        raise _refused(str(labels.root / name), f"is XML with the root <{root.tag[:40]}>")
    return root


def _check_size(file: XmlFile, name: str, size: tuple[int, int], picture: Path) -> None:
    said = [file.root.findtext(f"size/{side}") for side in ("height", "width")]
    values = [0.0 if text is None else number(text, "a size", file.where) for text in said]
    # Some programs write 0 where they do not know.
    if all(values) and values != [*size]:
        words = f"{values[0]:g}", f"{values[1]:g}"
        raise annotated_otherwise(file.where, name, words, size, picture)


def _add(one: Element, rows: BoxRows, row: int, classes: Sequence[str], where: str) -> None:
    corners = one.find("bndbox")
    if corners is None:
        raise _refused(where, "has no bndbox")
    sides = ("xmin", "ymin", "xmax", "ymax")
    x1, y1, x2, y2 = (number(corners.findtext(side), side, where) for side in sides)
    label = classes.index(_text(one, "name", where))
    said = [x1, y1, x2, y2]
    rows.add(row, [x1 - 1, y1 - 1, x2, y2], label, where, said=said, **believed(one, where))


def believed(one: Element, where: str) -> dict[str, Any]:
    """What is believed of an object, as ``BoxRows.add`` takes it."""
    difficult = number(one.findtext("difficult") or 0, "difficult", where)
    source = one.findtext("source")
    return {
        "crowd": not math.isclose(difficult, 0),
        "confidence": share(one.findtext("score") or 1, "the score", where),
        "weight": share(one.findtext("weight") or 1, "the weight", where),
        "source": Source.PERSON if source is None else source_of(source, where),
    }


def _text(one: Element, tag: str, where: str) -> str:
    text = (one.findtext(tag) or "").strip()
    if not text:
        raise _refused(where, f"has an object without a {tag}")
    return text


def _refused(where: str, problem: str) -> DataError:
    return DataError(
        f"{where} {problem}.",
        "<annotation> with an <object> of <name> and <bndbox> for each box",
        "correct or remove the file.",
    )
