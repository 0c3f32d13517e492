"""Tasks for Label Studio, with the labels as predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.dataset import ImageSet
from leaven.data.formats.brush import brush_runs
from leaven.data.formats.folder import (
    Written,
    check_xml_names,
    encoded,
    new_folder,
    write_copies,
    write_json,
)
from leaven.data.formats.masks import palette
from leaven.data.formats.outlines import outline
from leaven.data.formats.tools import Shown, Thing, of_class, state_of
from leaven.data.label_maps import VOID_NAME
from leaven.data.writers import encoded_picture
from leaven.labels.classes import ClassLabels

LOCAL_FILES = "/data/local-files/?d="
"""What Label Studio's addresses of local files begin with."""

_TAGS = {
    "choices": ("Choices", "Choice"),
    "rectanglelabels": ("RectangleLabels", "Label"),
    "brushlabels": ("BrushLabels", "Label"),
    "polygonlabels": ("PolygonLabels", "Label"),
}


def write_label_studio(
    folder: Path,
    listing: AnnotatedListing,
    *,
    every: bool = False,
    polygons: bool = False,
    prefix: str = LOCAL_FILES,
    score: float = 0.0,
    doubtful_only: bool = False,
    round: int | None = None,
) -> Written:
    """``images/``, ``tasks.json``, ``label_config.xml`` and ``classes.json``: a task for each picture.

    A picture that is known has one prediction: rectangles, or for masks and label maps brush
    strokes, each with its score, and ``meta`` with the weight, the source and whether it is a
    crowd. The score of the prediction is the mean of its scores. ``data`` has the name of the
    picture, its ``state`` (person, accepted or doubtful) and the round of labels, which come back
    in an export of the project. Of a label map the class ``background`` has no stroke; void pixels
    have one of the label ``void``, which there is for label maps.
    ``label_config.xml`` is the labelling interface for the project, and ``classes.json`` the list of
    its labels: an export of the project names those alone that somebody drew.

    Args:
        folder: where; it must be empty or not yet there.
        listing: the pictures.
        every: write rows that are not accepted, of weight 0, as well.
        polygons: write masks as polygons, which can be corrected by their corners.
        prefix: what comes before the path of a picture; by default the pictures are served from
            this folder, given as LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
        score: leave rows that are not accepted and have a lower confidence out.
        doubtful_only: leave pictures out in which everything is accepted.
        round: the number of the round that the labels are of.

    Raises:
        DataError: the folder is not empty, a picture is gone, or XML cannot hold the name of a
            class.
    """
    shown = Shown(listing, every=every, score=score, void=True)
    classes = listing.classes if listing.maps is None else (*listing.classes, VOID_NAME)
    kind = "rectanglelabels"
    if shown.masks:
        kind = "polygonlabels" if polygons else "brushlabels"
    sizes = listing.sizes.tolist()

    def task(item: int) -> tuple[list[Thing], list[dict[str, Any]], bool]:
        things = shown.of(item)
        results = [_result(thing, item, sizes[item], kind) for thing in things]
        return things, results, shown.known[item]

    items = shown.doubtful() if doubtful_only else list(range(len(listing)))
    return _written(
        folder, items, listing.names, partial(encoded, listing), task, classes, kind,
        prefix, round,
    )  # fmt: skip


def write_label_studio_classes(
    folder: Path,
    images: ImageSet,
    labels: ClassLabels,
    classes: Sequence[str],
    *,
    items: Sequence[int] | None = None,
    prefix: str = LOCAL_FILES,
    round: int | None = None,
) -> Written:
    """As ``write_label_studio``, with the class of each picture as a choice.

    Args:
        folder: where; it must be empty or not yet there.
        images: n pictures.
        labels: what is believed about them, accepted or not.
        classes: the K class names.
        items: which pictures to write; all when None.
        prefix: what comes before the path of a picture.
        round: the number of the round that the labels are of.

    Raises:
        DataError: as ``write_label_studio``.
    """

    def task(item: int) -> tuple[list[Thing], list[dict[str, Any]], bool]:
        things = of_class(labels, classes, item)
        return things, [_choice(thing, item) for thing in things], bool(things)

    chosen = range(len(images)) if items is None else items
    content = partial(encoded_picture, images)
    return _written(folder, chosen, images.names, content, task, classes, "choices", prefix, round)


def _written(
    folder: Path,
    items: Sequence[int],
    names: Sequence[str],
    content: Callable[[int], tuple[bytes, str]],
    said: Callable[[int], tuple[list[Thing], list[dict[str, Any]], bool]],
    classes: Sequence[str],
    kind: str,
    prefix: str,
    round: int | None,
) -> Written:
    check_xml_names(classes)
    tasks, count, labelled = [], 0, 0
    with new_folder(folder) as whole:
        for item, place in write_copies(names, content, whole / "images", items).items():
            things, results, known = said(item)
            data = {"image": prefix + quote(f"images/{place}"), "name": names[item]}
            data["state"] = state_of(things, known)
            task: dict[str, Any] = {"id": item + 1, "data": data}
            if round is not None:
                task["data"]["round"] = round
            if known:
                task["predictions"] = [_prediction(results)]
            count, labelled = count + len(results), labelled + known
            tasks.append(task)
        write_json(whole / "tasks.json", tasks)
        if kind != "choices":
            write_json(whole / "classes.json", list(classes))
        ElementTree.ElementTree(_interface(classes, kind)).write(
            whole / "label_config.xml", encoding="utf-8"
        )
    return Written(folder, len(tasks), labelled, count)


def _prediction(results: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [result["score"] for result in results]
    mean = {"score": float(np.mean(scores))} if scores else {}
    return {"model_version": "leaven", **mean, "result": results}


def _common(thing: Thing, item: int, kind: str) -> dict[str, Any]:
    return {
        "id": f"{item + 1}-{thing.key + 1}",
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "score": thing.confidence,
        "meta": {
            "weight": thing.weight,
            "source": thing.source.name.lower(),
            "state": thing.state,
            "crowd": thing.crowd,
        },
    }


def _choice(thing: Thing, item: int) -> dict[str, Any]:
    return {**_common(thing, item, "choices"), "value": {"choices": [thing.name]}}


def _result(thing: Thing, item: int, size: Sequence[int], kind: str) -> dict[str, Any]:
    height, width = size
    return {
        **_common(thing, item, kind),
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**_value(thing, height, width, kind), kind: [thing.name]},
    }


def _value(thing: Thing, height: int, width: int, kind: str) -> dict[str, Any]:
    if thing.mask is None:
        assert thing.box is not None
        x1, y1, x2, y2 = thing.box
        return {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
        }
    if kind == "brushlabels":
        return {"format": "rle", "rle": brush_runs(thing.mask)}
    points = outline(thing.mask) * np.array([100 / width, 100 / height])
    return {"points": points.tolist(), "closed": True}


def _interface(classes: Sequence[str], kind: str) -> Element:
    root = Element("View")
    SubElement(root, "Image", name="image", value="$image", zoom="true")
    group, one = _TAGS[kind]
    labels = SubElement(root, group, name="label", toName="image")
    if kind == "choices":
        labels.attrib.update(choice="single-radio", showInline="true", required="true")
    colours = palette()
    for index, name in enumerate(classes):
        red, green, blue = colours[(index + 1) % len(colours)].tolist()
        SubElement(labels, one, value=name, background=f"#{red:02x}{green:02x}{blue:02x}")
    return root
