"""The end of a run: what came out, in a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from leaven.cli.output import STYLES, percent, print_table, safe, stdout, table, words

Summary = dict[str, Any]


def print_summary(summary: Summary, folder: Path) -> None:
    """The table of one run, its health, and where the report is."""
    print_figures([summary])
    print_rounds(summary.get("corrections"), summary["task"])
    print_promise(summary.get("promise"))
    print_health(summary["health"])
    stdout().print(words(f"report: {folder / 'report.html'}"))


def print_figures(summaries: Sequence[Summary]) -> None:
    """Supervised only against the method, as mean and spread where there are several runs."""
    from leaven.report.dense_content import PICTURES, main_figure

    first = summaries[0]
    if first["task"] in PICTURES:
        print_picture_figures(summaries)
        return
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


def print_picture_figures(summaries: Sequence[Summary]) -> None:
    """Every figure of made pictures, as mean and spread where there are several runs."""
    from leaven.report.picture_content import FIGURES, Figure

    rows = []
    known = summaries[0]["metrics"]
    for name in (*FIGURES, *(name for name in known if name not in FIGURES)):
        values = [summary["metrics"].get(name) for summary in summaries]
        values = [value for value in values if value is not None]
        if values:
            figure = FIGURES.get(name) or Figure(name.replace("_", " "), "", "")
            spread = f" ± {figure.told(stdev(values))}" if len(values) > 1 else ""
            rows.append((figure.title, f"{figure.told(mean(values))}{spread}"))
    rows.append(("time", f"{mean(summary['seconds'] for summary in summaries):.1f} s"))
    print_table(table(("", summaries[0]["method"]), rows, right=1))


def print_promise(promise: dict[str, Any] | None) -> None:
    """What would be kept for several promises, beside the one that was asked for; what is said of
    that one is among the findings."""
    if promise is None:
        return
    asked = (promise["target"], promise["held"], promise["kept_share"], promise["accuracy"])
    others = [
        (row["target"], row["held"], row["kept_share"], row["accuracy"])
        for row in promise["table"]
        if row["target"] != promise["target"] or promise["by_class"]
    ]
    rows = [
        (
            f"{100 * target:.4g} %" + (" (asked)" if place == 0 else ""),
            _shares([share]) if held else "none",
            _shares([accuracy]),
        )
        for place, (target, held, share, accuracy) in enumerate([asked, *others])
    ]
    columns = [f"promise at\n{100 * promise['confidence']:.4g} %", "kept", "of these\nright"]
    print_table(table(columns, rows, right=len(columns) - 1))


def print_rounds(about: dict[str, Any] | None, task: str) -> None:
    """A row for each round that people's corrections began, and the one before them."""
    from leaven.report.dense_content import main_figure

    if about is None:
        return
    rows = [
        (
            str(row["round"]),
            str(row["corrected"]),
            str(row["labelled"]),
            percent(row["figure"]),
            percent(row["label_accuracy"]),
            percent(row["accepted_share"]),
        )
        for row in about["history"]
    ]
    held_out = "val" if about["history"][-1]["measured_on"] == "val" else "test"
    columns = [
        "round", "corrected", "labelled", f"{held_out}\n{main_figure(task)[1]}",
        "label\naccuracy", "accepted",
    ]  # fmt: skip
    stdout().print()
    print_table(table(columns, rows, right=len(columns)))
    stdout().print()


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
