"""CVAT's XML, "CVAT for images 1.1"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.dataset import ImageSet
from leaven.data.files import probe
from leaven.data.formats.folder import (
    Written,
    check_xml_names,
    encoded,
    new_folder,
    write_copies,
    write_json,
)
from leaven.data.formats.masks import palette
from leaven.data.formats.tools import STATES, Shown, Thing, of_class
from leaven.data.label_maps import BACKGROUND, VOID_NAME
from leaven.data.writers import encoded_picture
from leaven.labels.classes import ClassLabels, Source


def write_cvat(
    folder: Path,
    listing: AnnotatedListing,
    *,
    every: bool = False,
    score: float = 0.0,
    doubtful_only: bool = False,
) -> Written:
    """``images/``, ``annotations.xml`` and ``cvat_labels.json``, for a task of CVAT.

    Boxes are boxes, masks are masks; a label map is one mask for each class but ``background``.
    There is a label ``void`` for label maps; void pixels are a mask of it where there is a
    background, else no mask covers them. The attributes of each are ``state`` (person, accepted or doubtful),
    ``confidence`` and ``crowd``. ``cvat_labels.json`` is what the raw editor of CVAT's labels takes.

    Args:
        folder: where; it must be empty or not yet there.
        listing: the pictures.
        every: write rows that are not accepted, of weight 0, as well.
        score: leave rows that are not accepted and have a lower confidence out.
        doubtful_only: leave pictures out in which everything is accepted.

    Raises:
        DataError: the folder is not empty, a picture is gone, or XML cannot hold the name of a
            class.
    """
    shown = Shown(listing, every=every, score=score, void=BACKGROUND in listing.classes)
    classes = listing.classes if listing.maps is None else (*listing.classes, VOID_NAME)
    items = shown.doubtful() if doubtful_only else list(range(len(listing)))
    return _written(
        folder,
        items,
        listing.names,
        partial(encoded, listing),
        lambda item: (shown.of(item), shown.known[item]),
        classes,
    )


def write_cvat_classes(
    folder: Path,
    images: ImageSet,
    labels: ClassLabels,
    classes: Sequence[str],
    *,
    items: Sequence[int] | None = None,
) -> Written:
    """As ``write_cvat``, with the class of each picture as a tag.

    Args:
        folder: where; it must be empty or not yet there.
        images: n pictures.
        labels: what is believed about them, accepted or not.
        classes: the K class names.
        items: which pictures to write; all when None.

    Raises:
        DataError: as ``write_cvat``.
    """

    def said(item: int) -> tuple[list[Thing], bool]:
        things = of_class(labels, classes, item)
        return things, bool(things)

    chosen = range(len(images)) if items is None else items
    return _written(folder, chosen, images.names, partial(encoded_picture, images), said, classes)


def cvat_runs(mask: NDArray[np.bool_]) -> dict[str, str]:
    """A mask (H, W), not empty, as CVAT says it: the upright rectangle around it, and in that, row
    by row, the lengths of the runs of zeros and ones by turns, zeros first."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    flat = np.concatenate([[False], part.ravel()])
    # The zero put in front makes the first run one of zeros, and is taken from it again.
    starts = np.flatnonzero(np.diff(flat, prepend=True))
    lengths = np.diff(starts, append=len(flat))
    lengths[0] -= 1
    return {
        "rle": ", ".join(map(str, lengths.tolist())),
        "left": str(columns[0]),
        "top": str(rows[0]),
        "width": str(part.shape[1]),
        "height": str(part.shape[0]),
    }


def _written(
    folder: Path,
    items: Sequence[int],
    names: Sequence[str],
    content: Callable[[int], tuple[bytes, str]],
    said: Callable[[int], tuple[list[Thing], bool]],
    classes: Sequence[str],
) -> Written:
    check_xml_names(classes)
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    _add_meta(root, classes, len(items))
    count = labelled = 0
    with new_folder(folder) as whole:
        places = write_copies(names, content, whole / "images", items)
        for number, (item, place) in enumerate(places.items()):
            info = probe(whole / "images" / place, names[item])
            sides = {"width": str(info.width), "height": str(info.height)}
            image = SubElement(root, "image", {"id": str(number), "name": place, **sides})
            things, known = said(item)
            for thing in things:
                _add(image, thing)
            count, labelled = count + len(image), labelled + known
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(
            whole / "annotations.xml", encoding="utf-8", xml_declaration=True
        )
        write_json(whole / "cvat_labels.json", _labels(classes))
    return Written(folder, len(places), labelled, count)


def _add(image: Element, thing: Thing) -> None:
    said = {
        "label": thing.name,
        "source": "manual" if thing.source == Source.PERSON else "auto",
    }
    if thing.mask is not None:
        if not thing.mask.any():
            return
        said |= {"occluded": "0", **cvat_runs(thing.mask), "z_order": "0"}
        made = SubElement(image, "mask", said)
    elif thing.box is not None:
        corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(repr, thing.box)))
        made = SubElement(image, "box", {**said, "occluded": "0", **corners, "z_order": "0"})
    else:
        made = SubElement(image, "tag", said)
    confidence = f"{thing.confidence:.4f}"
    for name, text in (
        ("state", thing.state),
        ("confidence", confidence),
        ("crowd", str(thing.crowd).lower()),
    ):
        SubElement(made, "attribute", name=name).text = text


def _add_meta(root: Element, classes: Sequence[str], count: int) -> None:
    task = SubElement(SubElement(root, "meta"), "task")
    for name, text in (("name", "leaven"), ("size", str(count)), ("mode", "annotation")):
        SubElement(task, name).text = text
    labels = SubElement(task, "labels")
    for said in _labels(classes):
        label = SubElement(labels, "label")
        for field in ("name", "color", "type"):
            SubElement(label, field).text = str(said[field])
        attributes = SubElement(label, "attributes")
        for field, default, kind, values in _ATTRIBUTES:
            attribute = SubElement(attributes, "attribute")
            SubElement(attribute, "name").text = field
            SubElement(attribute, "mutable").text = "False"
            SubElement(attribute, "input_type").text = kind
            SubElement(attribute, "default_value").text = default
            SubElement(attribute, "values").text = "\n".join(values)


_ATTRIBUTES = (
    ("state", "person", "select", STATES),
    ("confidence", "", "text", ("",)),
    ("crowd", "false", "checkbox", ("false",)),
)
"""Name, default, kind and values of what is said of each box, mask and tag."""


def _labels(classes: Sequence[str]) -> list[dict[str, object]]:
    colours = palette()
    return [
        {
            "name": name,
            "color": "#{:02x}{:02x}{:02x}".format(*colours[(index + 1) % len(colours)].tolist()),
            "type": "any",
            "attributes": [
                {
                    "name": field,
                    "mutable": False,
                    "input_type": kind,
                    "default_value": default,
                    "values": list(values),
                }
                for field, default, kind, values in _ATTRIBUTES
            ],
        }
        for index, name in enumerate(classes)
    ]
