"""Pascal VOC: XML of boxes, and maps of masks."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from PIL import Image

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.formats.folder import (
    Written,
    check_xml_names,
    chosen_boxes,
    new_folder,
    per_picture,
    without_suffix,
    write_json,
    write_pictures,
    write_splits,
    written,
)
from leaven.data.formats.masks import covered_note, painted_numbers, palette, save_png
from leaven.data.label_maps import BACKGROUND, VOID_NAMES
from leaven.data.listing import some
from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import Source
from leaven.labels.pixels import VOID

_MOST = VOID - 1
"""The objects of a picture and the classes that a map of 8 bits can number."""


def write_voc(folder: Path, listing: AnnotatedListing, *, every: bool = False) -> Written:
    """``JPEGImages/``, ``Annotations/``, ``ImageSets/Main/`` and ``classes.json``, in VOC's form.

    VOC counts pixels from 1 and includes the last: ``xmin, ymin, xmax, ymax = x1 + 1, y1 + 1, x2,
    y2``, whole numbers where the box has such. ``difficult`` is ``crowd``. A picture of which
    nothing is known has no XML file. Beside what VOC has, an object says ``score`` (the
    confidence), ``weight`` and ``source``.

    Masks are in ``SegmentationObject/``, whose values are the numbers of the objects in the order of
    the XML file, and in ``SegmentationClass/``, whose values are the numbers of the classes; 0 is
    nothing in both, ``classes.json`` begins with ``background`` then, and ``ImageSets/Segmentation``
    has the splits too. A pixel is of one object: small ones lie over large ones, and the notes count
    those that lose pixels by it. No border of 255 is drawn. A picture of more than 254 objects has
    boxes alone, and so have all where a class is called background or void or there are more than
    254; the notes say so.

    Args:
        folder: where; it must be empty or not yet there.
        listing: the pictures, with boxes, and maybe masks.
        every: write rows that are not accepted, of weight 0, as well.

    Raises:
        DataError: the folder is not empty, the listing has label maps, or XML cannot hold the name
            of a class.
    """
    labels = chosen_boxes(listing, every=every)
    check_xml_names(listing.classes)
    notes = _refusal(listing.classes) if labels.masks is not None else []
    masks = None if labels.masks is None or notes else _Masks(listing, labels)
    with new_folder(folder) as whole:
        places = write_pictures(listing, whole / "JPEGImages")
        for item, rows in enumerate(per_picture(labels)):
            if not bool(listing.known[item]):
                continue
            drawn = masks is not None and masks.write(whole, item, rows, places[item])
            root = _annotation(listing, item, places[item], segmented=drawn)
            for row in rows:
                _object(root, labels, row, listing.classes)
            ElementTree.indent(root)
            file = whole / "Annotations" / f"{without_suffix(places[item])}.xml"
            file.parent.mkdir(parents=True, exist_ok=True)
            ElementTree.ElementTree(root).write(file, encoding="utf-8")
        lines = [without_suffix(place) for place in places]
        write_splits(listing, lines, whole / "ImageSets/Main")
        if masks is None:
            write_json(whole / "classes.json", list(listing.classes))
        else:
            write_splits(listing, lines, whole / "ImageSets/Segmentation")
            write_json(whole / "classes.json", masks.classes())
    return written(listing, folder, len(labels.boxes), notes if masks is None else masks.notes())


class _Masks:
    """Writes the masks of a listing as maps, and counts what these do not hold."""

    def __init__(self, listing: AnnotatedListing, labels: BoxLabels) -> None:
        self._listing, self._labels = listing, labels
        self._covered: list[str] = []
        self._many: list[str] = []

    def write(self, whole: Path, item: int, rows: range, place: str) -> bool:
        """Writes both maps of a picture; whether they hold its objects."""
        if len(rows) > _MOST:
            self._many.append(place)
            return False
        size = self._listing.sizes[item].tolist()
        painted, hidden = painted_numbers(self._labels, rows, size, place)
        self._covered += [f"{number} of {place}" for number in hidden]
        values = self._labels.classes[rows.start : rows.stop].numpy() + 1
        of_number = np.concatenate([np.zeros(1, dtype=np.int64), values])
        maps = {"SegmentationObject": painted, "SegmentationClass": of_number[painted]}
        for folder, stored in maps.items():
            image = Image.fromarray(stored.astype(np.uint8))
            image.putpalette(palette().tobytes())
            save_png(image, whole / folder / f"{without_suffix(place)}.png")
        return True

    def classes(self) -> list[dict[str, object]]:
        """The classes with their colours, background first."""
        names = (BACKGROUND, *self._listing.classes)
        return [{"name": n, "color": c} for n, c in zip(names, palette().tolist())]

    def notes(self) -> list[str]:
        """What maps have no place for."""
        notes = covered_note(self._covered)
        if self._many:
            notes.append(
                f"{len(self._many)} pictures have more than {_MOST} objects, and so boxes alone: "
                f"{some(self._many)}."
            )
        return notes


def _refusal(classes: tuple[str, ...]) -> list[str]:
    """Why maps cannot hold masks of these classes, if they cannot."""
    names = [name for name in classes if name.lower() in VOID_NAMES | {BACKGROUND}]
    if not names and len(classes) <= _MOST:
        return []
    problem = f"the class {names[0]!r}" if names else f"{len(classes)} classes"
    return [f"The masks are left out: VOC's maps cannot hold {problem}."]


def _annotation(listing: AnnotatedListing, item: int, place: str, *, segmented: bool) -> Element:
    height, width = listing.sizes[item].tolist()
    root = Element("annotation")
    SubElement(root, "folder").text = "JPEGImages"
    # VOC names the file beside those of its folder.
    SubElement(root, "filename").text = place.rpartition("/")[2]
    size = SubElement(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", 3)):
        SubElement(size, name).text = str(value)
    SubElement(root, "segmented").text = str(int(segmented))
    return root


def _object(root: Element, labels: BoxLabels, row: int, classes: tuple[str, ...]) -> None:
    one = SubElement(root, "object")
    x1, y1, x2, y2 = labels.boxes[row].tolist()
    SubElement(one, "name").text = classes[int(labels.classes[row])]
    SubElement(one, "pose").text = "Unspecified"
    SubElement(one, "truncated").text = "0"
    SubElement(one, "difficult").text = str(int(labels.crowd[row]))
    corners = SubElement(one, "bndbox")
    for name, value in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
        SubElement(corners, name).text = str(int(value)) if value == int(value) else repr(value)
    SubElement(one, "score").text = repr(float(labels.confidence[row]))
    SubElement(one, "weight").text = repr(float(labels.weight[row]))
    SubElement(one, "source").text = Source(int(labels.source[row])).name.lower()
