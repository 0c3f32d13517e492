"""What a report says of the promise that a run makes about its labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leaven.report import words
from leaven.report.folder import Record, RunFolder


def promise_content(run: RunFolder) -> Record | None:
    """The variables of the section; None for a run that was asked for no promise."""
    stored = run.summary.get("promise")
    if not isinstance(stored, Mapping):
        return None
    return {
        "held": stored.get("held") is True,
        "text": f"{stored.get('text') or ''} {stored.get('warning') or ''}".strip(),
        "rows": [_row(stored)],
        "table": [_row(row) for row in _rows(stored.get("table"))],
        "classes": [
            {"name": str(row.get("class")), **_row(row)} for row in _rows(stored.get("per_class"))
        ],
        "by_class": stored.get("by_class") is True,
        "target": words.number(stored.get("target")),
        "confidence": words.number(stored.get("confidence")),
        "held_out": words.number(stored.get("held_out")),
        "unit": str(stored.get("unit") or "labels"),
        "counted": "labels" if stored.get("unit") == "labels" else "pictures",
    }


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _row(stored: Mapping[str, Any]) -> Record:
    figures = ("target", "kept_share", "threshold", "accuracy", "bound", "held_out", "needed")
    return {
        "held": stored.get("held") is True,
        **{name: words.number(stored.get(name)) for name in figures},
    }
