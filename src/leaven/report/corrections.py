"""What a report says of the rounds that people's corrections began."""

from __future__ import annotations

from typing import Any

from leaven.report import words
from leaven.report.charts import Chart, line_chart

Record = dict[str, Any]


def corrections_content(summary: Record, what: str) -> Record | None:
    """The table and the chart of the rounds; None for a run without corrections.

    Args:
        summary: ``summary.json``.
        what: what people call the main figure of the task.
    """
    about = summary.get("corrections")
    history = about.get("history") if isinstance(about, dict) else None
    rows = [row for row in history if isinstance(row, dict)] if isinstance(history, list) else []
    if not isinstance(about, dict) or len(rows) < 2:
        return None
    held_out = "validation" if rows[-1].get("measured_on") == "val" else "test"
    return {
        "rows": [_row(row, before) for row, before in zip(rows, [None, *rows], strict=False)],
        "figure": f"{held_out} {what}",
        "text": _sentence(about),
        "chart": _chart(rows, f"{held_out} {what}"),
    }


def _sentence(about: Record) -> str:
    """How many items people corrected, and how."""
    parts = [
        f"{words.count(about.get(name))} {name}"
        for name in ("accepted", "relabelled", "rejected")
        if words.number(about.get(name))
    ]
    items = words.count(about.get("items"))
    return f"In the last round stand the corrections of {items} {'item' if items == '1' else 'items'}: {', '.join(parts)}."


def _row(row: Record, before: Record | None) -> Record:
    figure = words.number(row.get("figure"))
    earlier = None if before is None else words.number(before.get("figure"))
    return {
        "round": words.count(row.get("round")),
        "corrected": words.count(row.get("corrected")),
        "labelled": words.count(row.get("labelled")),
        "figure": figure,
        "change": None if figure is None or earlier is None else figure - earlier,
        "accepted": words.number(row.get("accepted_share")),
        "right": words.number(row.get("label_accuracy")),
        "estimated": words.number(row.get("estimated_accuracy")),
    }


def _chart(rows: list[Record], figure: str) -> Chart | None:
    names = {
        figure: "figure",
        "accepted": "accepted_share",
        "accepted labels that are right": "label_accuracy",
    }
    numbers = [(words.number(row.get("round")), row) for row in rows]
    series = {
        name: [
            (number, value)
            for number, row in numbers
            if number is not None and (value := words.number(row.get(key))) is not None
        ]
        for name, key in names.items()
    }
    return line_chart("Round by round", series, percent=True, x_name="round")
