"""What a report on pixels, boxes or masks says beyond the words of every report."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from leaven.quality.calibration import Reliability
from leaven.report import words
from leaven.report.charts import reliability_bins
from leaven.report.folder import Record, RunFolder
from leaven.report.palette import palette

MAIN = {
    "segmentation": ("miou", "mean IoU"),
    "detection": ("map", "average precision"),
    "instance": ("map", "average precision"),
}
"""By task the metric that says most, and its name."""

PICTURES = {
    "text-to-image": ("conditional_accuracy", "pictures that show their caption"),
    "translation": ("colour_overlap", "overlap of colours with real pictures"),
}
"""The same for tasks that make pictures."""

COLUMNS = {
    "labelled": "Labelled",
    "accepted": "Accepted",
    "iou": "IoU",
    "ap": "AP",
    "ap50": "AP at IoU 0.5",
    "pq": "PQ",
    "sq": "SQ",
    "rq": "RQ",
    "dice": "Dice",
    "precision": "Precision",
    "recall": "Recall",
    "support": "True in test",
}
"""Figures of a class in ``summary.json`` under ``per_class``, in the order of the table."""

COUNTS = {"labelled", "accepted", "support"}

LEGEND = 60
"""Colours of more classes cannot be told apart: no legend is shown."""


def main_figure(task: str) -> tuple[str, str]:
    """The metric that the report is headed by, and what people call it."""
    return {**MAIN, **PICTURES}.get(task, ("accuracy", "accuracy"))


def dense_content(run: RunFolder) -> Record | None:
    """The variables of the parts for pixels and boxes; None for a run on classes of items."""
    if run.task not in MAIN:
        return None
    return {
        "by_pixel": run.task == "segmentation",
        "legend": _legend(run),
        "galleries": _galleries(run),
        "table": class_table(run),
        "reliability": _reliability(run),
    }


def class_table(run: RunFolder) -> Record | None:
    """The figures of each class: ``columns`` (title, whether it counts), and ``rows``."""
    stored = run.summary.get("per_class")
    if not isinstance(stored, Mapping) or not run.classes:
        return None
    size = len(run.classes)
    names = [
        name for name in COLUMNS if isinstance(stored.get(name), list) and len(stored[name]) == size
    ]
    return {
        "columns": [(COLUMNS[name], name in COUNTS) for name in names],
        "rows": [
            (run.classes[k], [words.number(stored[name][k]) for name in names]) for k in range(size)
        ],
    }


def _legend(run: RunFolder) -> list[tuple[str, str]]:
    """Colour and name of each class; of one class things have colours, not the class."""
    if not 1 < len(run.classes) <= LEGEND:
        return []
    colours = palette(max(len(run.classes), 7))
    return [
        (f"#{bytes(colour).hex()}", name)
        for colour, name in zip(colours, run.classes, strict=False)
    ]


def _galleries(run: RunFolder) -> dict[str, list[Record]]:
    kinds = ("accepted", "doubtful", "wrong", "next")
    galleries: dict[str, list[Record]] = {kind: [] for kind in kinds}
    for row in run.gallery:
        panels = row.get("panels")
        if row.get("kind") in galleries and isinstance(panels, list):
            galleries[row["kind"]].append(_card(row, panels))
    return galleries


def _card(row: Record, panels: list[Any]) -> Record:
    return {
        "item": str(row.get("item")),
        "panels": [
            (
                str(panel.get("name")),
                "data:image/png;base64," + base64.b64encode(panel["png"]).decode("ascii"),
            )
            for panel in panels
            if isinstance(panel, Mapping) and isinstance(panel.get("png"), bytes)
        ],
        **{
            name: words.number(row.get(name))
            for name in ("confidence", "accepted", "right", "missed")
        },
    }


def _reliability(run: RunFolder) -> Record | None:
    """The diagram in ``summary.json`` under ``reliability``, where there is one."""
    try:
        found = Reliability.from_dict(run.summary["reliability"])
    except (KeyError, TypeError, ValueError):
        return None
    weight = found.count / found.count.sum().clamp_min(1)
    confidence, accuracy = (
        float((values.nan_to_num() * weight).sum()) for values in (found.confidence, found.accuracy)
    )
    return {
        "bins": reliability_bins(found),
        "metrics": {"ece": found.error, "confidence": confidence, "accuracy": accuracy},
        "gap": confidence - accuracy,
    }
