"""Pascal VOC XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

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
from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import Source


def write_voc(folder: Path, listing: AnnotatedListing, *, every: bool = False) -> Written:
    """``JPEGImages/``, ``Annotations/``, ``ImageSets/Main/`` and ``classes.json``, in VOC's form.

    VOC counts pixels from 1 and includes the last: ``xmin, ymin, xmax, ymax = x1 + 1, y1 + 1, x2,
    y2``, whole numbers where the box has such. ``difficult`` is ``crowd``. A picture of which
    nothing is known has no XML file. Beside what VOC has, an object says ``score`` (the
    confidence), ``weight`` and ``source``. There is no place for masks.

    Args:
        folder: where; it must be empty or not yet there.
        listing: the pictures, with boxes.
        every: write rows that are not accepted, of weight 0, as well.

    Raises:
        DataError: the folder is not empty, the listing has label maps, or XML cannot hold the name
            of a class.
    """
    labels = chosen_boxes(listing, every=every)
    check_xml_names(listing.classes)
    notes = [] if labels.masks is None else ["VOC's XML has no place for masks."]
    with new_folder(folder) as whole:
        places = write_pictures(listing, whole / "JPEGImages")
        for item, rows in enumerate(per_picture(labels)):
            if not bool(listing.known[item]):
                continue
            root = _annotation(listing, item, places[item])
            for row in rows:
                _object(root, labels, row, listing.classes)
            ElementTree.indent(root)
            file = whole / "Annotations" / f"{without_suffix(places[item])}.xml"
            file.parent.mkdir(parents=True, exist_ok=True)
            ElementTree.ElementTree(root).write(file, encoding="utf-8")
        write_splits(listing, [without_suffix(place) for place in places], whole / "ImageSets/Main")
        write_json(whole / "classes.json", list(listing.classes))
    return written(listing, folder, len(labels.boxes), notes)


def _annotation(listing: AnnotatedListing, item: int, place: str) -> Element:
    height, width = listing.sizes[item].tolist()
    root = Element("annotation")
    SubElement(root, "folder").text = "JPEGImages"
    # VOC names the file beside those of its folder.
    SubElement(root, "filename").text = place.rpartition("/")[2]
    size = SubElement(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", 3)):
        SubElement(size, name).text = str(value)
    SubElement(root, "segmented").text = "0"
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
