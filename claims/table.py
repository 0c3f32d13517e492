"""CLAIMS.md, made from the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from claims.harness import RESULTS

FILE = Path(__file__).parents[1] / "CLAIMS.md"

COUNTED = 20
"""A mean from which on it is no share."""

HEAD = """# Claims

Every method against its own baseline, in small real experiments of minutes on one CPU core. Made
from `claims/results` by `python -m claims table`; run one with `make claim NAME=...`, all with
`make claims`. Figures are means over the seeds with the standard deviation between seeds; those of
single classes are per cent. What does not show at this scale is written down like what does.
"""


def write() -> Path:
    """Writes the table of all results."""
    results = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    lines = [HEAD, "| claim | method | expected | measured | shown |", "|---|---|---|---|---|"]
    for name, result in results.items():
        for row in result["expectations"] or [
            {"text": result["statement"], "measured": None, "shown": None}
        ]:
            if row["measured"] is None:
                measured = "not finished" if row["shown"] is None else "nothing to measure"
            else:
                level = "reaches" in row["text"]
                measured = f"{row['measured']:.1f} %" if level else f"{row['measured']:+.1f} points"
            shown = {True: "yes", False: "**no**", None: ""}[row["shown"]]
            lines.append(
                f"| [{name}](#{name.replace('_', '-')}) | {result['method']} | {row['text']} "
                f"| {measured} | {shown} |"
            )
    for name, result in results.items():
        lines += ["", *_section(name, result)]
    FILE.write_text("\n".join(lines) + "\n")
    return FILE


def _section(name: str, result: dict[str, Any]) -> list[str]:
    lines = [
        f"## {name.replace('_', '-')}",
        "",
        result["statement"],
        "",
        f"Setting: {result['setting']}",
        "",
    ]
    keys = _keys(result)
    by_class = [key.removeprefix("dice_") for key in keys if key.startswith("dice_")]
    each = {f"{what}_{name}" for name in by_class for what in ("iou", "dice")}
    whole = [key for key in keys if key not in each]
    lines += _columns([key.replace("_", " ") for key in whole] + ["seconds"])
    for variant, means in result["mean"].items():
        cells = [_cell(means.get(k), result["standard_deviation"][variant].get(k)) for k in whole]
        lines.append(f"| {variant} | {' | '.join(cells)} | {means['seconds']:.0f} |")
    if by_class:
        lines += ["", "IoU of each class:", "", *_columns([n.replace("_", " ") for n in by_class])]
        for variant, means in result["mean"].items():
            cells = [_share(means.get(f"iou_{name}")) for name in by_class]
            lines.append(f"| {variant} | {' | '.join(cells)} |")
    if note := result.get("note"):
        lines += ["", note]
    pictures = sorted((RESULTS / name).glob("*.png"))
    if pictures:
        shown = (f"| {p.stem} | ![{p.stem}]({p.relative_to(FILE.parent)}) |" for p in pictures)
        lines += ["", "| samples | |", "|---|---|", *shown]
    return lines


def _columns(names: list[str]) -> list[str]:
    """The head of a table of variants."""
    return [f"| variant | {' | '.join(names)} |", "|---|" + "---|" * len(names)]


def _keys(result: dict[str, Any]) -> list[str]:
    """What was measured, first what the claim is about."""
    found = {key for means in result["mean"].values() for key in means} - {"seconds"}
    return sorted(found, key=lambda key: (key != result["metric"], key))


def _share(mean: float | None) -> str:
    return "" if mean is None else f"{100 * mean:.1f}"


def _cell(mean: float | None, spread: float | None) -> str:
    """A share as per cent; a number that is none, such as one of weights, as it is."""
    if mean is None:
        return ""
    spread = spread or 0.0
    if abs(mean) >= COUNTED:
        return f"{mean:,.0f} ± {spread:,.0f}"
    return f"{100 * mean:.1f} ± {100 * spread:.1f} %"
