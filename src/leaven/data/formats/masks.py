"""Mask files: class indices with a palette, and instance numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.formats.folder import (
    Written,
    chosen_boxes,
    new_folder,
    per_picture,
    without_suffix,
    write_json,
    write_pictures,
    write_splits,
    written,
)
from leaven.data.listing import some
from leaven.errors import DataError
from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import Source

_MOST_INSTANCES = 2**16 - 1


def palette() -> NDArray[np.uint8]:
    """(256, 3) the colours of Pascal VOC: the bits of the index, dealt to red, green and blue from
    the highest bit of the colour down."""
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel)) & 1).astype(np.uint8) << (
                7 - bit
            )
    return colours


def write_masks(folder: Path, listing: AnnotatedListing) -> Written:
    """``images/``, ``masks/`` and ``classes.json``: PNG of class indices with VOC's palette.

    255 is void. A picture of which nothing is known has no mask. Splits are lists of pictures,
    ``train.txt`` and so on.

    Args:
        folder: where; it must be empty or not yet there.
        listing: the pictures, with label maps.

    Raises:
        DataError: the folder is not empty, or the listing has boxes.
    """
    if listing.maps is None:
        raise DataError(
            f"{listing.name} has boxes, and this form holds a class per pixel.",
            "label maps",
            "write it as COCO, or masks as instance maps.",
        )
    colours = palette()
    count = 0
    with new_folder(folder) as whole:
        places = write_pictures(listing, whole / "images")
        for item, place in enumerate(places):
            if (found := listing.maps[item]) is None:
                continue
            image = Image.fromarray(found)
            image.putpalette(colours.tobytes())
            save_png(image, whole / "masks" / f"{without_suffix(place)}.png")
            count += 1
        write_splits(listing, [f"images/{place}" for place in places], whole)
        write_json(
            whole / "classes.json",
            [
                {"name": name, "color": colour}
                for name, colour in zip(listing.classes, colours.tolist())
            ],
        )
    return written(listing, folder, count, [])


def write_instance_maps(folder: Path, listing: AnnotatedListing, *, every: bool = False) -> Written:
    """``images/``, ``instances/``, ``instances.json`` and ``classes.json``: PNG of 16 bits whose
    values are instance numbers, 0 for none.

    ``instances.json`` says of each picture and number the class, ``crowd``, ``score`` (the
    confidence), ``weight`` and ``source``. A pixel is of one instance: small ones lie over large
    ones, and the notes count those that lose pixels by it. The boxes are those of the masks.

    Args:
        folder: where; it must be empty or not yet there.
        listing: the pictures, with masks.
        every: write rows that are not accepted, of weight 0, as well.

    Raises:
        DataError: the folder is not empty, there are no masks, or too many for 16 bits.
    """
    labels = chosen_boxes(listing, every=every)
    if labels.masks is None and len(labels.boxes):
        raise DataError(
            f"{listing.name} has boxes without masks.", "masks", "write it as COCO, VOC or YOLO."
        )
    covered: list[str] = []
    details: dict[str, dict[str, object]] = {}
    with new_folder(folder) as whole:
        places = write_pictures(listing, whole / "images")
        for item, rows in enumerate(per_picture(labels)):
            if not bool(listing.known[item]):
                continue
            painted, hidden = painted_numbers(
                labels, rows, listing.sizes[item].tolist(), places[item]
            )
            covered += [f"{number} of {places[item]}" for number in hidden]
            details[places[item]] = {
                str(number): _detail(labels, row, listing.classes)
                for number, row in enumerate(rows, 1)
            }
            file = whole / "instances" / f"{without_suffix(places[item])}.png"
            save_png(Image.fromarray(painted), file)
        write_splits(listing, [f"images/{place}" for place in places], whole)
        write_json(whole / "instances.json", details)
        write_json(whole / "classes.json", list(listing.classes))
    return written(listing, folder, len(labels.boxes), covered_note(covered))


def covered_note(covered: list[str]) -> list[str]:
    """A note of the masks that lose pixels, if there are any."""
    if not covered:
        return []
    lose = "instance loses" if len(covered) == 1 else "instances lose"
    return [f"{len(covered)} {lose} pixels under smaller ones: {some(covered)}."]


def painted_numbers(
    labels: BoxLabels, rows: range, size: list[int], place: str
) -> tuple[NDArray[np.uint16], list[int]]:
    """The map (H, W) of the numbers of some masks from 1, and the numbers of which some pixels are
    covered: small ones lie over large ones.

    Args:
        labels: with masks.
        rows: of one picture.
        size: height and width of the picture.
        place: how the picture is called, for errors.

    Raises:
        DataError: too many for 16 bits.
    """
    if len(rows) > _MOST_INSTANCES:
        raise DataError(
            f"{place} has {len(rows)} instances.",
            f"at most {_MOST_INSTANCES}, for they are numbers of 16 bits",
            "write it as COCO.",
        )
    painted = np.zeros(size, dtype=np.uint16)
    if labels.masks is None or not len(rows):
        return painted, []
    runs = labels.masks.coco()[rows.start : rows.stop]
    areas = np.asarray(coco.area(runs), dtype=np.int64)
    for number in (-areas).argsort(kind="stable"):
        painted[coco.decode(runs[number]).astype(bool)] = number + 1
    left = np.bincount(painted.ravel(), minlength=len(rows) + 1)[1:]
    return painted, [int(number) + 1 for number in np.flatnonzero(left < areas)]


def _detail(labels: BoxLabels, row: int, classes: tuple[str, ...]) -> dict[str, object]:
    return {
        "class": classes[int(labels.classes[row])],
        "crowd": bool(labels.crowd[row]),
        "score": float(labels.confidence[row]),
        "weight": float(labels.weight[row]),
        "source": Source(int(labels.source[row])).name.lower(),
    }


def save_png(image: Image.Image, file: Path) -> None:
    """Writes a picture as PNG, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, "PNG")
