"""COCO JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.formats.folder import (
    Written,
    chosen_boxes,
    new_folder,
    per_picture,
    write_json,
    write_pictures,
    written,
)
from leaven.data.formats.outlines import outline
from leaven.data.label_maps import BACKGROUND, VOID_NAME
from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import Source
from leaven.labels.masks import Masks
from leaven.labels.pixels import VOID


def write_coco(
    folder: Path, listing: AnnotatedListing, *, every: bool = False, polygons: bool = False
) -> Written:
    """``images/`` and ``annotations/train.json`` (and so on), in COCO's form.

    Ids count from 1, categories in the order of the classes. A picture of which nothing is known
    is in ``images/`` alone. Masks are compressed run lengths. Beside what COCO has, an annotation
    says ``score`` (the confidence), ``weight`` and ``source`` (nobody, person or model).

    Label maps become one annotation for each class of a picture, the source of which is a person.
    Pixels of the class ``background`` are not covered; then void pixels are of the category
    ``void``. Without such a class void pixels are not covered, and ``info`` says
    ``"uncovered": "void"``.

    Args:
        folder: where; it must be empty or not yet there.
        listing: the pictures.
        every: write rows that are not accepted, of weight 0, as well.
        polygons: write masks as one polygon each, which pycocotools fills to the same mask, where
            a program does not read run lengths.

    Raises:
        DataError: the folder is not empty, or a picture is gone.
    """
    from_maps = listing.boxes is None
    labels = _of_maps(listing) if from_maps else chosen_boxes(listing, every=every)
    names = list(listing.classes)
    info = {"description": listing.name}
    if from_maps and BACKGROUND in names:
        names.append(VOID_NAME)
    elif from_maps:
        info["uncovered"] = "void"
    rows = per_picture(labels)
    annotations = _annotations(labels, polygons=polygons)
    with new_folder(folder) as whole:
        places = write_pictures(listing, whole / "images")
        for split in dict.fromkeys(listing.splits):
            items = [
                item
                for item, known in enumerate(listing.known.tolist())
                if known and listing.splits[item] == split
            ]
            content = {
                "info": info,
                "images": [_image(listing, item, places[item]) for item in items],
                "annotations": [annotations[row] for item in items for row in rows[item]],
                "categories": [{"id": key, "name": name} for key, name in enumerate(names, 1)],
            }
            write_json(whole / "annotations" / f"{split}.json", content)
    return written(listing, folder, len(labels.boxes), [])


def _image(listing: AnnotatedListing, item: int, place: str) -> dict[str, Any]:
    height, width = listing.sizes[item].tolist()
    return {"id": item + 1, "file_name": place, "width": width, "height": height}


def _annotations(labels: BoxLabels, *, polygons: bool) -> list[dict[str, Any]]:
    boxes = labels.boxes.double()
    sides = (boxes[:, 2:] - boxes[:, :2]).tolist()
    areas = [width * height for width, height in sides]
    if labels.masks is not None:
        areas = labels.masks.area().tolist()
    columns = zip(
        labels.pictures.tolist(),
        labels.classes.tolist(),
        boxes.tolist(),
        sides,
        areas,
        labels.crowd.tolist(),
        labels.confidence.tolist(),
        labels.weight.tolist(),
        labels.source.tolist(),
        strict=True,
    )
    return [
        {
            "id": row + 1,
            "image_id": picture + 1,
            "category_id": label + 1,
            "bbox": [box[0], box[1], *side],
            "area": area,
            "iscrowd": int(crowd),
            "segmentation": _segment(labels.masks, row, polygons=polygons),
            "score": score,
            "weight": weight,
            "source": Source(source).name.lower(),
        }
        for row, (picture, label, box, side, area, crowd, score, weight, source) in enumerate(
            columns
        )
    ]


def _segment(masks: Masks | None, row: int, *, polygons: bool) -> Any:
    if masks is None:
        return []
    if polygons:
        return [outline(masks.one(row).numpy()).reshape(-1).tolist()]
    return {"size": masks.sizes[row].tolist(), "counts": masks.runs[row].decode("ascii")}


def _of_maps(listing: AnnotatedListing) -> BoxLabels:
    """The classes of each label map as masks; void as a class after the last where there is a
    background."""
    assert listing.maps is not None
    has_background = BACKGROUND in listing.classes
    left_out = listing.classes.index(BACKGROUND) if has_background else VOID
    boxes, classes, masks = [], [], []
    for item, size in enumerate(listing.sizes.tolist()):
        found = listing.maps[item]
        values = np.zeros(0, np.uint8) if found is None else np.unique(found)
        values = values[values != left_out]
        pixels = np.zeros(size, np.uint8) if found is None else found
        each = Masks.from_dense(torch.from_numpy(pixels[None] == values[:, None, None]))
        label = torch.from_numpy(values.astype(np.int64))
        masks.append(each)
        boxes.append(each.boxes())
        classes.append(torch.where(label == VOID, len(listing.classes), label))
    return BoxLabels.from_person(
        boxes, classes, known=listing.known.cpu(), masks=Masks.joined(masks)
    )
