"""Tasks for Label Studio, with the labels as predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.formats.brush import brush_runs
from leaven.data.formats.folder import (
    Written,
    chosen_boxes,
    new_folder,
    per_picture,
    write_json,
    write_pictures,
    written,
)
from leaven.data.formats.masks import palette
from leaven.data.formats.outlines import outline
from leaven.data.label_maps import BACKGROUND
from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import Source
from leaven.labels.pixels import VOID

LOCAL_FILES = "/data/local-files/?d="
"""What Label Studio's addresses of local files begin with."""


def write_label_studio(
    folder: Path,
    listing: AnnotatedListing,
    *,
    every: bool = False,
    polygons: bool = False,
    prefix: str = LOCAL_FILES,
) -> Written:
    """``images/``, ``tasks.json`` and ``label_config.xml``: a task for each picture.

    A picture that is known has one prediction: rectangles, or for masks and label maps brush
    strokes, each with its score, and ``meta`` with the weight, the source and whether it is a
    crowd. The score of the prediction is the mean of its scores. The class ``background`` and void
    pixels have no stroke. ``label_config.xml`` is the labelling interface for the project.

    Args:
        folder: where; it must be empty or not yet there.
        listing: the pictures.
        every: write rows that are not accepted, of weight 0, as well.
        polygons: write masks as polygons, which can be corrected by their corners.
        prefix: what comes before the path of a picture; by default the pictures are served from
            this folder, given as LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.

    Raises:
        DataError: the folder is not empty, or a picture is gone.
    """
    labels = None if listing.boxes is None else chosen_boxes(listing, every=every)
    masks = listing.maps is not None or (labels is not None and labels.masks is not None)
    kind = ("polygonlabels" if polygons else "brushlabels") if masks else "rectanglelabels"
    rows = [range(0)] * len(listing) if labels is None else per_picture(labels)
    count = 0
    tasks = []
    with new_folder(folder) as whole:
        places = write_pictures(listing, whole / "images")
        for item, place in enumerate(places):
            task: dict[str, Any] = {
                "id": item + 1,
                "data": {"image": prefix + quote(f"images/{place}"), "name": listing.names[item]},
            }
            if bool(listing.known[item]):
                if labels is None:
                    results = _of_map(listing, item, kind)
                else:
                    results = [_of_row(listing, labels, item, row, kind) for row in rows[item]]
                task["predictions"] = [_prediction(results)]
                count += len(results)
            tasks.append(task)
        write_json(whole / "tasks.json", tasks)
        ElementTree.ElementTree(_interface(listing.classes, kind)).write(
            whole / "label_config.xml", encoding="utf-8"
        )
    return written(listing, folder, count, [])


def _prediction(results: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [result["score"] for result in results]
    mean = {"score": float(np.mean(scores))} if scores else {}
    return {"model_version": "leaven", **mean, "result": results}


def _of_row(
    listing: AnnotatedListing, labels: BoxLabels, item: int, row: int, kind: str
) -> dict[str, Any]:
    height, width = listing.sizes[item].tolist()
    name = listing.classes[int(labels.classes[row])]
    if labels.masks is None:
        x1, y1, x2, y2 = labels.boxes[row].tolist()
        value: dict[str, Any] = {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
        }
    else:
        value = _stroke(labels.masks.one(row).numpy(), kind)
    return {
        **_result(f"{item + 1}-{row + 1}", (height, width), value, name, kind),
        "score": float(labels.confidence[row]),
        "meta": {
            "weight": float(labels.weight[row]),
            "source": Source(int(labels.source[row])).name.lower(),
            "crowd": bool(labels.crowd[row]),
        },
    }


def _of_map(listing: AnnotatedListing, item: int, kind: str) -> list[dict[str, Any]]:
    assert listing.maps is not None
    found = listing.maps[item]
    assert found is not None
    height, width = found.shape
    results = []
    for value in np.unique(found).tolist():
        if value == VOID or listing.classes[value] == BACKGROUND:
            continue
        stroke = _stroke(found == value, kind)
        name = listing.classes[value]
        one = _result(f"{item + 1}-{value + 1}", (height, width), stroke, name, kind)
        results.append({**one, "score": 1.0})
    return results


def _result(
    key: str, size: tuple[int, int], value: dict[str, Any], name: str, kind: str
) -> dict[str, Any]:
    return {
        "id": key,
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": size[1],
        "original_height": size[0],
        "image_rotation": 0,
        "value": {**value, kind: [name]},
    }


def _stroke(mask: NDArray[np.bool_], kind: str) -> dict[str, Any]:
    if kind == "brushlabels":
        return {"format": "rle", "rle": brush_runs(mask)}
    height, width = mask.shape
    points = outline(mask) * np.array([100 / width, 100 / height])
    return {"points": points.tolist(), "closed": True}


def _interface(classes: Sequence[str], kind: str) -> Element:
    root = Element("View")
    SubElement(root, "Image", name="image", value="$image", zoom="true")
    tags = {
        "rectanglelabels": "RectangleLabels",
        "brushlabels": "BrushLabels",
        "polygonlabels": "PolygonLabels",
    }
    labels = SubElement(root, tags[kind], name="label", toName="image")
    colours = palette()
    for index, name in enumerate(classes):
        red, green, blue = colours[(index + 1) % len(colours)].tolist()
        SubElement(labels, "Label", value=name, background=f"#{red:02x}{green:02x}{blue:02x}")
    return root
