"""What a report says, worked out from a run folder: the variables of the template."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leaven.labels.classes import Source
from leaven.quality import classification_metrics, confusion, per_class, reliability
from leaven.report import words
from leaven.report.charts import Chart, Points, heat, line_chart, reliability_bins
from leaven.report.corrections import corrections_content
from leaven.report.dense_content import PICTURES, dense_content, main_figure
from leaven.report.folder import Record, RunFolder, Test
from leaven.report.picture_content import picture_content
from leaven.report.promise_content import promise_content

LARGEST_MATRIX = 60
"""A confusion matrix of more classes is not drawn: its cells could not be told apart."""

NUMBERED_MATRIX = 16
"""Up to so many classes the cells carry their counts."""

LONG_NAME = 3
"""Longer class names stand upright above their column."""

MIX_UPS = 8

NOT_CURVES = {"step", "round", "seconds", "phase"}

CURVE_NAMES = {
    "accepted_share": "accepted",
    "label_accuracy": "accepted labels that are right",
    "agreement": "teacher and student agree",
    "loss": "total",
    "images_per_second": "images per second",
    "nll": "negative log-likelihood",
    "ece": "calibration error",
}

LABEL_CURVES = ("accepted_share", "label_accuracy", "agreement")


@dataclass(frozen=True)
class ClassRow:
    """A class in figures; None where there is nothing to judge."""

    name: str
    labelled: int | None
    accepted: int | None
    share: float | None
    precision: float | None
    recall: float | None
    test_items: int | None
    test_recall: float | None


def content(run: RunFolder) -> dict[str, Any]:
    """The variables of ``report.html.j2``."""
    summary = run.summary
    return {
        "head": _head(run),
        "numbers": _numbers(run),
        "health": [_finding(entry) for entry in _dicts(summary.get("health"))],
        "finished": bool(summary),
        "problems": run.problems,
        "charts": _charts(run),
        "more_charts": _more_charts(run),
        "classes": _class_rows(run),
        "labels_kept": run.labels is not None,
        "truth_known": run.truth is not None,
        "reliability": _reliability(run.test),
        "confusion": _confusion(run),
        "galleries": _galleries(run),
        "dense": dense_content(run),
        "pictures": picture_content(run),
        "corrections": corrections_content(summary, main_figure(run.task)[1]),
        "promise": promise_content(run),
        "config": _pairs(run.config),
        "environment": _pairs(_mapping(summary.get("environment"))),
        "version": summary.get("leaven"),
        "audit": (run.path / "audit.html").is_file(),
    }


def _head(run: RunFolder) -> Record:
    summary, config = run.summary, run.config
    data = _mapping(summary.get("data"))
    labels = _mapping(summary.get("labels"))
    main, what = main_figure(run.task)
    accuracy = words.number(_mapping(summary.get("metrics")).get(main))
    baseline = words.number(_mapping(summary.get("baseline")).get(main))
    held_out = {"val": "validation"}
    figure = accuracy
    meaning = f"{held_out.get(_text(summary.get('measured_on')), 'test')} {what}"
    if figure is None:
        figure, meaning = words.number(labels.get("accuracy")), "of the accepted labels are right"
    if figure is None:
        figure = words.number(labels.get("estimated_accuracy"))
        meaning = "estimated accuracy of the accepted labels"
        if labels.get("estimated_by") == "confidence":
            meaning += ", by the model's own confidence alone: nothing is held out to check it"
    bars = [("leaven", accuracy), ("labels alone", baseline)]
    compared = accuracy is not None and baseline is not None
    return {
        "name": _text(data.get("name") or run.path.name),
        "task": _text(summary.get("task") or "run"),
        "method": summary.get("method") or config.get("method"),
        "model": summary.get("model") or config.get("model"),
        "classes": len(run.classes),
        "labelled": data.get("labelled"),
        "doubts": _doubts(labels, data),
        "figure": figure,
        "meaning": meaning,
        "what": what,
        "asked": bool(summary.get("baseline")),
        "gain": accuracy - baseline if accuracy is not None and baseline is not None else None,
        "bars": [(name, value) for name, value in bars if value is not None] if compared else [],
    }


def _doubts(labels: Record, data: Record) -> str:
    """A sentence on given labels that are not believed; empty where the method doubts none."""
    corrected = words.number(labels.get("corrected"))
    if corrected is None:
        return ""
    text = (
        f"{words.count(corrected)} of the {words.count(data.get('labelled'))} given labels are not "
        "believed: the stored labels hold another class for them, with a model as its source."
    )
    before, after = labels.get("given_accuracy"), labels.get("corrected_accuracy")
    if words.number(before) is None or words.number(after) is None:
        return text
    return f"{text} {words.percent(before)} of the given labels are right, {words.percent(after)} after that."


def _likely(limits: object) -> str:
    """The range of an estimate in brackets; empty without one."""
    if not isinstance(limits, list) or len(limits) != 2:
        return ""
    low, high = (words.percent(value, 0) for value in limits)
    return f" ({low} to {high})"


def _label_accuracy(labels: Record) -> tuple[str, str]:
    """The accuracy of the accepted labels, and how it is known."""
    right, estimated = labels.get("accuracy"), labels.get("estimated_accuracy")
    known, told = words.number(right) is not None, words.number(estimated) is not None
    basis = labels.get("estimated_by")
    by = "" if basis is None else f" by {_text(basis).replace('-', ' ')}"
    how = f"{_likely(labels.get('estimated_range'))}{by}"
    if known:
        judged, accepted = labels.get("judged"), labels.get("accepted")
        of = "" if judged in (None, accepted) else f" on {words.count(judged)} of them"
        more = f"; estimated {words.percent(estimated)}{how}" if told else ""
        return words.percent(right), f"measured{of}{more}"
    if told:
        return words.percent(estimated), f"estimated{how}"
    return words.percent(None), "no label is accepted" if labels.get("accepted") == 0 else "unknown"


def _numbers(run: RunFolder) -> list[tuple[str, str, str]]:
    """Name, value and a word more of each key number."""
    summary = run.summary
    data, labels = _mapping(summary.get("data")), _mapping(summary.get("labels"))
    learned = [
        ("labelled", words.count(data.get("labelled")), "by people"),
        ("unlabelled", words.count(data.get("unlabelled")), "items"),
        (
            "accepted",
            words.percent(labels.get("accepted_share")),
            f"{words.count(labels.get('accepted'))} labels",
        ),
        ("label accuracy", *_label_accuracy(labels)),
    ]
    if run.task in PICTURES:
        learned = [
            ("pictures", words.count(data.get("items")), "to learn from"),
            ("held out", words.count(data.get("test")), "pictures"),
        ]
    return [
        *learned,
        ("steps", words.count(summary.get("steps")), f"seed {_text(summary.get('seed'))}"),
        ("time", words.duration(summary.get("seconds")), "training"),
        ("speed", words.count(summary.get("images_per_second")), "images per second"),
        ("device", _text(summary.get("device")), _text(summary.get("precision"))),
    ]


def _finding(entry: Record) -> Record:
    level = entry.get("level")
    return {
        "level": level if level in ("info", "warning", "error") else "info",
        "code": _text(entry.get("code")),
        "text": _text(entry.get("text")),
    }


def _charts(run: RunFolder) -> list[Chart]:
    metrics = run.metrics
    keys = _keys(metrics)
    marks = _phases(metrics)
    alone = "labels alone"
    main, what = main_figure(run.task)
    accuracy = {"leaven": _curve(metrics, main), alone: _curve(run.baseline, main)}
    losses = [key for key in keys if key == "loss" or key.startswith("loss/")]
    charts = [
        line_chart(
            f"{what[0].upper()}{what[1:]} on held-out items",
            accuracy,
            note="Measured while training; items nobody learns from.",
            percent=True,
            dashed=frozenset([alone]),
            marks=marks,
        ),
        line_chart(
            "Pseudo-labels",
            {_curve_name(key): _curve(metrics, key) for key in LABEL_CURVES},
            note="How many proposals are trusted, and how good they are.",
            percent=True,
            marks=marks,
        ),
        line_chart(
            "Losses",
            {_curve_name(key): _curve(metrics, key) for key in losses},
            note="Means between two lines of the log.",
            marks=marks,
        ),
        _rounds_chart(run),
    ]
    return [chart for chart in charts if chart is not None]


def _rounds_chart(run: RunFolder) -> Chart | None:
    if len(run.rounds) < 2:
        return None
    shares = [(r.number, r.accepted / max(r.items, 1)) for r in run.rounds]
    right = [(r.number, r.accuracy) for r in run.rounds if r.accuracy is not None]
    series: dict[str, Points] = {"accepted": shares, "accepted labels that are right": right}
    return line_chart(
        "Labels round by round", series, note="As stored.", percent=True, x_name="round"
    )


def _more_charts(run: RunFolder) -> list[Chart]:
    """A small chart for every scalar that has no place in the others."""
    metrics, shown = run.metrics, {main_figure(run.task)[0], "loss", *LABEL_CURVES}
    keys = [key for key in _keys(metrics) if key not in shown and not key.startswith("loss/")]
    charts = [
        line_chart(_curve_name(key), {_curve_name(key): _curve(metrics, key)}) for key in keys
    ]
    return [chart for chart in charts if chart is not None]


def _keys(metrics: Iterable[Record]) -> list[str]:
    """The names of the scalars, in the order of their first line."""
    found: dict[str, None] = {}
    for record in metrics:
        found |= {key: None for key, value in record.items() if words.number(value) is not None}
    return [key for key in found if key not in NOT_CURVES]


def _curve(metrics: Iterable[Record], key: str) -> Points:
    pairs = ((words.number(line.get("step")), words.number(line.get(key))) for line in metrics)
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _curve_name(key: str) -> str:
    return CURVE_NAMES.get(key, key.removeprefix("loss/").replace("_", " "))


def _phases(metrics: Sequence[Record]) -> list[float]:
    """The steps at which a new round or phase begins."""
    marks, before = [], None
    for line in metrics:
        now = (line.get("phase"), line.get("round"))
        step = words.number(line.get("step"))
        if now == (None, None):
            continue
        if before is not None and now != before and step is not None:
            marks.append(step)
        before = now
    return marks


def _class_rows(run: RunFolder) -> list[ClassRow]:
    size, labels, matrix = len(run.classes), run.labels, _matrix(run)
    labelled = table = None
    if labels is not None and size:
        person = labels.source == int(Source.PERSON)
        labelled = torch.bincount(labels.classes[person].clamp_min(0), minlength=size)
        truth = torch.full_like(labels.classes, -1) if run.truth is None else run.truth
        table = per_class(labels.select(~person), truth[~person], size)
    if table is None and matrix is None:
        return []
    return [
        ClassRow(
            name=name,
            labelled=None if labelled is None else int(labelled[k]),
            accepted=None if table is None else int(table.support[k]),
            share=None if table is None else float(table.share[k]),
            precision=None if table is None else words.number(float(table.precision[k])),
            recall=None if table is None else words.number(float(table.recall[k])),
            test_items=None if matrix is None else int(matrix[k].sum()),
            test_recall=None if matrix is None else _ratio(matrix[k, k], matrix[k].sum()),
        )
        for k, name in enumerate(run.classes)
    ]


def _reliability(test: Test | None) -> Record | None:
    if test is None or not bool((test.truth >= 0).any()):
        return None
    found = reliability(test.probs, test.truth)
    metrics = classification_metrics(test.probs, test.truth)
    gap = metrics["confidence"] - metrics["accuracy"]
    return {"bins": reliability_bins(found), "metrics": metrics, "gap": gap}


def _confusion(run: RunFolder) -> Record | None:
    size, counts = len(run.classes), _matrix(run)
    if counts is None:
        return None
    wrong = counts.clone().fill_diagonal_(0)
    value, place = wrong.flatten().topk(min(MIX_UPS, size * size))
    mix_ups = [
        {
            "truth": run.classes[cell // size],
            "said": run.classes[cell % size],
            "count": n,
            "of": int(counts[cell // size].sum()),
        }
        for n, cell in zip(value.tolist(), place.tolist())
        if n > 0
    ]
    drawn = size <= LARGEST_MATRIX
    return {
        "classes": run.classes,
        "counts": counts.tolist() if drawn else [],
        "shares": heat(counts) if drawn else [],
        "numbered": size <= NUMBERED_MATRIX,
        "upright": max(map(len, run.classes)) > LONG_NAME,
        "wrong": int(wrong.sum()),
        "total": int(counts.sum()),
        "mix_ups": mix_ups,
    }


def _matrix(run: RunFolder) -> Tensor | None:
    """The confusion matrix of the held-out items, where their truth and the classes are known."""
    size, test = len(run.classes), run.test
    if test is None or size == 0 or test.probs.shape[1] != size or not (test.truth >= 0).any():
        return None
    return confusion(test.probs.argmax(1), test.truth, size)


def _galleries(run: RunFolder) -> dict[str, list[Record]]:
    galleries: dict[str, list[Record]] = {"accepted": [], "doubtful": [], "next": []}
    for row in run.gallery:
        if row.get("kind") in galleries and isinstance(row.get("png"), bytes):
            galleries[row["kind"]].append(_card(row))
    return galleries


def _card(row: Record) -> Record:
    said, truth = row.get("class"), row.get("truth")
    return {
        "item": _text(row.get("item")),
        "src": "data:image/png;base64," + base64.b64encode(row["png"]).decode("ascii"),
        "said": _text(said),
        "truth": None if truth is None else _text(truth),
        "wrong": truth is not None and truth != said,
        "confidence": words.number(row.get("confidence")),
        "score": words.number(row.get("score")),
    }


def _ratio(above: Tensor, below: Tensor) -> float | None:
    return float(above / below) if below > 0 else None


def _mapping(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[Record]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return words.NONE if value is None else str(value)


def _pairs(mapping: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """Keys and values as text; nested values as JSON."""
    return [
        (str(key), json.dumps(value, ensure_ascii=False, default=str))
        if isinstance(value, dict | list)
        else (str(key), _text(value))
        for key, value in mapping.items()
    ]
