"""What the page is told of an item."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from leaven.labels.corrections import Correction
from leaven.report.drawing import draw_boxes, draw_classes
from leaven.review.items import Index, Integers, Status
from leaven.review.ranking import Ranking
from leaven.review.things import drawn_things, shown_things
from leaven.review.verdicts import Verdict

CANDIDATES = 10
"""Likely classes that the large view shows."""


def summary(index: Index, item: int, verdict: Verdict) -> dict[str, Any]:
    """What a list shows of an item; classes are numbers, -1 for none."""
    last, evidence = verdict.last, verdict.evidence
    status = Status(int(index.status[item])) if verdict.status is None else verdict.status
    made: dict[str, Any] = {
        "number": item,
        "name": index.names[item],
        "label": label_of(index, item, evidence),
        "confidence": round(float(index.confidence[item]), 4),
        "doubt": round(float(index.doubt[item]), 4),
        "status": status.name.lower(),
        "version": verdict.version,
        "said": None if last is None else _said(last),
    }
    if index.members is not None:
        made["members"] = index.members.of(item)
        if evidence is not None and evidence.boxes is not None:
            place = {name: k for k, name in enumerate(index.classes)}
            made["members"] = [place.get(box["class"], -1) for box in evidence.boxes]
    return made


def detail(
    index: Index, item: int, verdict: Verdict, ranking: Ranking, given: Integers | None
) -> dict[str, Any]:
    """What the large view shows of an item: ``summary`` and what is to be drawn or chosen."""
    made = summary(index, item, verdict)
    if index.task == "classification":
        made["believed"] = int(index.label[item])
        made["candidates"] = _candidates(index, item)
        made["given"] = None if given is None else int(given[item])
        made["before"] = ranking.label_before(item)
        return made
    made["size"] = list(size_of(index, item))
    if index.task == "segmentation":
        row = index.content.table.slice(item, 1).to_pylist()[0]
        made["segments"] = [
            {name: segment[name] for name in ("label", "mask")} for segment in row["segments"]
        ]
        made["accepted"] = row["accepted"]
    else:
        made["boxes"] = shown_things(index, item, verdict.evidence)
    return made


def label_of(index: Index, item: int, evidence: Correction | None) -> int:
    """The class of an item, by what a person said where one did."""
    if evidence is None or evidence.label is None or evidence.action == "reject":
        return int(index.label[item])
    return index.classes.index(evidence.label) if evidence.label in index.classes else -1


def size_of(index: Index, item: int) -> tuple[int, int]:
    """Height and width of a picture with places, as it was found."""
    if index.task == "segmentation":
        row = index.content.table.slice(item, 1)
        return int(row["height"][0].as_py()), int(row["width"][0].as_py())
    height, width = index.content.sizes[item].tolist()
    return height, width


def drawn(
    index: Index, item: int, evidence: Correction | None, picture: Tensor, size: tuple[int, int]
) -> Image.Image:
    """A picture (3, h, w) uint8, found in that height and width, with its labels over it."""
    if index.task == "segmentation":
        found = index.content.picture(item)
        return draw_classes(picture, found.classes, len(index.classes), found.accepted)
    things = [one for one in shown_things(index, item, evidence) if one["accepted"]]
    _, height, width = picture.shape
    factor = torch.tensor([[width / size[1], height / size[0]]])
    return draw_boxes(picture, drawn_things(things, size).scaled(factor), index.classes)


def given_classes(names: list[str | None] | None, index: Index) -> Integers | None:
    """(n,) int64, the class that each item came with, -1 where nobody said or it is no class."""
    if names is None or index.task != "classification":
        return None
    place = {name: k for k, name in enumerate(index.classes)}
    return np.array([-1 if name is None else place.get(name, -1) for name in names], np.int64)


def _candidates(index: Index, item: int) -> list[list[float]]:
    """The likely classes with their probabilities, the likeliest first."""
    if index.content.probs is None:
        return []
    probs = index.content.probs[item].nan_to_num(0, 0, 0)
    sure, classes = probs.topk(min(CANDIDATES, len(index.classes)))
    return [[int(k), round(float(p), 4)] for k, p in zip(classes, sure)]


def _said(said: Correction) -> dict[str, Any]:
    return {name: getattr(said, name) for name in ("id", "action", "label", "by", "time", "round")}
