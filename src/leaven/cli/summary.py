"""The end of a run: what came out, in a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from leaven.cli.output import STYLES, print_table, safe, stdout, table, words

Summary = dict[str, Any]


def print_summary(summary: Summary, folder: Path) -> None:
    """The table of one run, its health, and where the report is."""
    print_figures([summary])
    print_health(summary["health"])
    stdout().print(words(f"report: {folder / 'report.html'}"))


def print_figures(summaries: Sequence[Summary]) -> None:
    """Supervised only against the method, as mean and spread where there are several runs."""
    from leaven.report.dense_content import main_figure

    first = summaries[0]
    metric, meaning = main_figure(first["task"])
    own = [summary["metrics"][metric] for summary in summaries]
    rows = []
    if first["baseline"] is not None:
        base = [summary["baseline"][metric] for summary in summaries]
        rows.append(("supervised only", _shares(base), "", "", "", ""))
        gains = [None if a is None or b is None else a - b for a, b in zip(own, base)]
    else:
        gains = [None] * len(summaries)
    labels = [summary["labels"] for summary in summaries]
    rows.append(
        (
            first["method"],
            _shares(own),
            _shares(gains, sign="+"),
            _shares([label["accuracy"] for label in labels]),
            _shares([label["accepted_share"] for label in labels]),
            f"{mean(summary['seconds'] for summary in summaries):.1f} s",
        )
    )
    held_out = "val" if first["data"]["val"] and not first["data"]["test"] else "test"
    columns = [
        "", f"{held_out}\n{meaning}", "difference", "label\naccuracy", "accepted", "time",
    ]  # fmt: skip
    print_table(table(columns, rows, right=len(columns) - 1))


def print_health(findings: Sequence[dict[str, Any]]) -> None:
    """Every finding with its level, in plain words."""
    for finding in findings:
        level = finding["level"]
        stdout().print(
            words(f"{level}:", style=STYLES.get(level, "")).append(f" {safe(finding['text'])}")
        )


def _shares(values: Sequence[float | None], sign: str = "") -> str:
    """Per cent, with the sample standard deviation of several; a dash where one is unknown."""
    known = [100 * value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    text = f"{mean(known):{sign}.1f}"
    return f"{text} ± {stdev(known):.1f} %" if len(known) > 1 else f"{text} %"
