import json
import math
import re

import pytest
import torch

from leaven.quality import reliability
from leaven.report import words
from leaven.report.charts import MOST_POINTS, heat, line_chart, reliability_bins


def corners(line):
    return [tuple(map(float, pair)) for pair in re.findall(r"([-\d.]+),([-\d.]+)", line.path)]


def test_a_line_is_placed_by_its_axes():
    chart = line_chart("t", {"a": [(0, 0.0), (50, 0.5), (100, 1.0)]}, percent=True)
    assert corners(chart.lines[0]) == [(0, 1000), (500, 500), (1000, 0)]
    assert [(t.at, t.text) for t in chart.y_ticks] == [
        (100, "0%"),
        (75, "25%"),
        (50, "50%"),
        (25, "75%"),
        (0, "100%"),
    ]
    assert [t.text for t in chart.x_ticks] == ["0", "25", "50", "75", "100"]
    assert chart.lines[0].last == "100%"


def test_what_is_not_finite_is_left_out_and_nothing_gives_no_chart():
    chart = line_chart("t", {"a": [(0, math.nan), (1, 2.0), (2, math.inf)], "b": []})
    assert [line.name for line in chart.lines] == ["a"]
    assert json.loads(chart.data)["lines"][0]["points"] == [[1, 2.0]]
    assert line_chart("t", {"a": [(0, math.nan)], "b": []}) is None


@pytest.mark.parametrize(
    ("value", "percent"),
    [
        (0.0, False),
        (1.0, False),
        (-3.0, False),
        (1e-9, False),
        (1e9, False),
        (0.0, True),
        (1.0, True),
    ],
)
def test_a_constant_line_is_inside(value, percent):
    chart = line_chart("t", {"a": [(0, value), (1, value)]}, percent=percent)
    assert all(-0.1 <= y <= 1000.1 for _, y in corners(chart.lines[0]))


def test_ticks_of_few_rounds_are_whole_numbers():
    chart = line_chart("t", {"a": [(0, 0.1), (2, 0.4)]})
    assert [tick.text for tick in chart.x_ticks] == ["0", "1", "2"]


def test_long_lines_are_averaged():
    points = [(i, float(i % 2)) for i in range(10 * MOST_POINTS)]
    kept = json.loads(line_chart("t", {"a": points}).data)["lines"][0]["points"]
    assert len(kept) == MOST_POINTS
    assert all(y == 0.5 for _, y in kept)
    assert kept[-1][0] == points[-1][0]


def test_lines_to_compare_with_are_grey_and_marks_are_placed():
    series = {"a": [(0, 1.0), (10, 2.0)], "b": [(0, 1.0), (10, 3.0)], "c": [(0, 1.0)]}
    chart = line_chart("t", series, dashed=frozenset("b"), marks=[5, 10, 99])
    assert [(line.colour, line.dashed) for line in chart.lines] == [
        (1, False),
        (0, True),
        (2, False),
    ]
    assert chart.marks == [50]


def test_reliability_bars():
    probs = torch.tensor([[0.9, 0.1]] * 12 + [[0.55, 0.45]])
    bins = reliability_bins(reliability(probs, torch.zeros(13, dtype=torch.long), bins=5))
    last, third = bins[-1], bins[2]
    assert (last.count, last.height, last.few) == (12, 100, False)
    assert (last.left, last.width) == pytest.approx((80, 20))
    assert last.confidence == pytest.approx(90)
    assert (third.count, third.few) == (1, True)
    assert bins[0].count == bins[0].height == bins[0].accuracy == 0


def test_heat_is_a_share_of_the_row():
    assert heat(torch.tensor([[3, 1], [0, 0]])) == [[0.75, 0.25], [0, 0]]


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (words.percent(0.97777), "97.8%"),
        (words.percent("<b>"), "–"),
        (words.percent(math.nan), "–"),
        (words.percent(True), "–"),
        (words.count(1234567), "1\u2009234\u2009567"),
        (words.points(0.0664), "+6.6"),
        (words.points(-0.01), "\u22121.0"),
        (words.decimal(0.12345), "0.123"),
        (words.duration(3.21), "3.2 s"),
        (words.duration(59.7), "1 min 0 s"),
        (words.duration(725), "12 min 5 s"),
        (words.duration(12000), "3 h 20 min"),
        (words.duration(None), "–"),
    ],
)
def test_words(shown, wanted):
    assert shown == wanted
