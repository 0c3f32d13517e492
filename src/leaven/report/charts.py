"""The geometry of charts: data in, numbers for the template out.

Positions are percentages of the plot from its left and top edge, so that a chart stretches to any
width while its labels, which are HTML, keep their size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.quality import Reliability

Points = Sequence[tuple[float, float]]

MOST_POINTS = 240
"""A line of more points is averaged over neighbours; more would not be seen."""

COLOURS = 6
"""The number of line colours in the style sheet."""

FEW_ITEMS = 10
"""A bar of a reliability diagram with fewer items is drawn pale."""

SIDE = 1000.0
"""The side of the square that lines are drawn in before they are stretched."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in percent and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One line: name, number of its colour, its path, and its last value as text."""

    name: str
    colour: int
    dashed: bool
    path: str
    last: str


@dataclass(frozen=True)
class Chart:
    """Lines over steps. ``data`` is what the script of the page reads, as JSON."""

    title: str
    note: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[float]
    data: str


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram; places and sizes in percent.

    ``few``: its items are too few to say much.
    """

    left: float
    width: float
    accuracy: float
    confidence: float
    count: int
    height: float
    few: bool


def line_chart(
    title: str,
    series: Mapping[str, Points],
    *,
    note: str = "",
    percent: bool = False,
    dashed: frozenset[str] = frozenset(),
    marks: Sequence[float] = (),
    x_name: str = "step",
) -> Chart | None:
    """A chart of named lines of (x, y), or None when there is nothing to draw.

    Args:
        percent: y are shares in [0, 1].
        dashed: names of lines to compare with, drawn dashed and in grey.
        marks: x at which a new phase begins.
        x_name: what x counts, for the pop-up.
    """
    kept = {name: _thin(_finite(points)) for name, points in series.items()}
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return None
    xs = [x for points in kept.values() for x, _ in points]
    ys = [y for points in kept.values() for _, y in points]
    x_low, x_high = _widen(min(xs), max(xs))
    y_low, y_high, y_values = _axis(min(ys), max(ys), percent)
    show = _percent if percent else _plain

    def place(x: float, y: float) -> tuple[float, float]:
        return (x - x_low) / (x_high - x_low), 1 - (y - y_low) / (y_high - y_low)

    lines, numbers = [], iter(range(1, len(kept) + 1))
    for name, points in kept.items():
        colour = 0 if name in dashed else (next(numbers) - 1) % COLOURS + 1
        path = _path([place(x, y) for x, y in points])
        lines.append(Line(name, colour, name in dashed, path, show(points[-1][1])))
    data = {
        "x": [x_low, x_high],
        "y": [y_low, y_high],
        "name": x_name,
        "percent": percent,
        "lines": [
            {"name": line.name, "colour": line.colour, "points": _rounded(kept[line.name])}
            for line in lines
        ],
    }
    return Chart(
        title=title,
        note=note,
        lines=lines,
        x_ticks=[Tick(100 * place(x, 0)[0], _plain(x)) for x in _ticks(x_low, x_high)],
        y_ticks=[Tick(100 * place(0, y)[1], show(y)) for y in y_values],
        marks=[100 * place(x, 0)[0] for x in marks if x_low < x < x_high],
        data=json.dumps(data),
    )


def reliability_bins(found: Reliability) -> list[Bin]:
    """The bars of a reliability diagram."""
    largest = max(int(found.count.max()), 1)
    edges = found.edges.tolist()
    return [
        Bin(
            left=100 * edges[i],
            width=100 * (edges[i + 1] - edges[i]),
            accuracy=100 * float(found.accuracy[i].nan_to_num()),
            confidence=100 * float(found.confidence[i].nan_to_num()),
            count=int(count),
            height=100 * int(count) / largest,
            few=int(count) < FEW_ITEMS,
        )
        for i, count in enumerate(found.count)
    ]


def heat(counts: Tensor) -> list[list[float]]:
    """Each cell (K, K) of a confusion matrix as its share of the row, in [0, 1]."""
    return (counts.double() / counts.sum(1, keepdim=True).clamp_min(1)).tolist()


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of neighbours, so that at most ``MOST_POINTS`` remain."""
    size = -(-len(points) // MOST_POINTS)
    if size <= 1:
        return points
    groups = torch.tensor(points, dtype=torch.float64).split(size)
    return [(float(group[-1, 0]), float(group[:, 1].mean())) for group in groups]


def _rounded(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(round(x, 3), float(f"{y:.5g}")) for x, y in points]


def _path(places: list[tuple[float, float]]) -> str:
    corners = " ".join(f"{SIDE * x:.1f},{SIDE * y:.1f}" for x, y in places)
    if len(places) == 1:  # a line of no length with round ends is a dot
        corners = f"{corners} {corners}"
    return f"M{corners}"


def _axis(low: float, high: float, percent: bool) -> tuple[float, float, list[float]]:
    """Limits that fall on ticks, and the ticks."""
    low, high = _widen(low, high) if low == high else (low, high)
    if percent:
        low, high = _widen(*(min(max(0.0, value), 1.0) for value in (low, high)))
    elif 0 < low < high / 2:
        low = 0.0
    step = _step(low, high, 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    values = [step * i for i in range(first, last + 1)]
    return values[0], values[-1], values


def _ticks(low: float, high: float) -> list[float]:
    """Whole numbers: steps and rounds are counted."""
    step = max(1.0, _step(low, high, 4))
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _step(low: float, high: float, count: int) -> float:
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)


def _widen(low: float, high: float) -> tuple[float, float]:
    """The limits, or a little around them when they are one value."""
    if high > low:
        return low, high
    margin = max(abs(low) * 0.05, 0.01)
    return low - margin, high + margin


def _percent(value: float) -> str:
    return f"{100 * value:.4g}%"


def _plain(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:,.4g}k"
    return f"{value:.4g}"
