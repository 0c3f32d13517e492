"""A report of hostile names shows them as text: parsed, and in a real browser."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.safety.hostile import NAMES

from leaven.labels import ClassLabels, LabelStore, Masks
from leaven.labels.boxes import BoxLabels
from leaven.report import write_box_gallery, write_gallery, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOWN = [name for name in NAMES if len(name) < 300 and "\0" not in name]
PAYLOADS = [name for name in SHOWN if "<" in name or "onerror" in name]

ELEMENTS = {
    "a", "b", "bdi", "body", "circle", "code", "dd", "details", "div", "dl", "dt", "figcaption", "figure",
    "footer", "g", "h1", "h2", "h3", "head", "header", "html", "i", "img", "li", "line", "main",
    "meta", "nav", "p", "path", "rect", "script", "section", "small", "span", "style", "summary",
    "svg", "table", "tbody", "td", "th", "thead", "title", "tr", "ul",
}  # fmt: skip


class Page(HTMLParser):
    """Elements, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def pictures(index: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(index), 1, 8, 8, dtype=torch.uint8)


def class_run(folder: Path) -> Path:
    """A run whose every name is hostile: data, classes, items, findings, configuration."""
    count = len(SHOWN)
    probs = torch.eye(count) * 0.5 + 0.5 / count
    labels = ClassLabels.from_probs(probs)
    names = [f"{name}.png" for name in SHOWN]
    truth = torch.arange(count).roll(1)
    LabelStore(folder / "labels").write(0, names, labels, SHOWN, truth)
    write_gallery(folder / "gallery.parquet", pictures, names, SHOWN, labels, truth)
    _write_summary(folder, "classification")
    return folder


def box_run(folder: Path) -> Path:
    count = len(SHOWN)
    mask = Masks.from_dense(torch.ones(count, 8, 8, dtype=torch.bool))
    boxes = BoxLabels.from_model(
        torch.tensor([[0.0, 0, 8, 8]]).repeat(count, 1),
        torch.arange(count),
        torch.full((count,), 0.75),
        torch.ones(count, dtype=torch.int64),
        mask,
    )
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{name}.png" for name in SHOWN]
    write_box_gallery(folder / "gallery.parquet", pictures, names, SHOWN, boxes, boxes)
    _write_summary(folder, "detection")
    return folder


def _write_summary(folder: Path, task: str) -> None:
    bad = PAYLOADS[0]
    summary = {
        "leaven": bad,
        "task": task,
        "method": bad,
        "model": bad,
        "data": {"name": bad, "labelled": 3, "classes": SHOWN},
        "metrics": {"accuracy": 0.5, "map": 0.5},
        "baseline": {"accuracy": 0.25, "map": 0.25},
        "per_class": {"ap": [0.5] * len(SHOWN)},
        "labels": {"accepted": 1},
        "health": [{"level": name, "code": name, "text": name} for name in SHOWN],
        "environment": {name: [name, {name: name}] for name in SHOWN},
        "device": bad,
        "precision": bad,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.yaml").write_text(yaml.safe_dump({name: [name] for name in PAYLOADS}))
    lines: list[dict[str, Any]] = [
        {"step": step, f"loss/{bad}": 0.5, bad: 0.5, "accuracy": 0.5, "map": 0.5, "phase": bad}
        for step in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


RUNS = {"classes": class_run, "boxes": box_run}


@pytest.fixture(scope="module", params=RUNS)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(RUNS[request.param](tmp_path_factory.mktemp(request.param) / "run"))


def test_names_are_text_to_a_parser(page: Path) -> None:
    found = Page(page.read_text("utf-8"))
    assert {tag for tag, _ in found.tags} <= ELEMENTS
    assert [tag for tag, _ in found.tags].count("script") == 1
    for tag, attributes in found.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "action", "xlink:href"):
                assert value is not None and value.startswith(("data:image/png;base64,", "#"))
            if name == "style":
                assert value is not None and "url" not in value and ";" not in value.rstrip(";")
    # A parser makes a line end of a carriage return, as HTML has it.
    texts = "\n".join(found.texts).replace("\r\n", "\n").replace("\r", "\n")
    for name in SHOWN:
        assert name.replace("\r\n", "\n").replace("\r", "\n") in texts, name


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_a_browser_runs_nothing_and_asks_for_nothing(page: Path) -> None:
    from playwright.sync_api import sync_playwright

    dialogs: list[str] = []
    asked: list[str] = []
    told: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()

        def dismiss(dialog: Any) -> None:
            dialogs.append(dialog.message)
            dialog.dismiss()

        tab.on("dialog", dismiss)
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: told.append(message.text))
        tab.on("pageerror", lambda error: told.append(str(error)))
        tab.goto(page.as_uri())
        tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        for chart in tab.query_selector_all("[data-chart] .plot"):
            chart.scroll_into_view_if_needed()
            chart.hover()
        tab.mouse.wheel(0, 100_000)
        tab.wait_for_timeout(300)
        title, shown = tab.title(), tab.inner_text("body")
        elements = tab.evaluate("[...document.querySelectorAll('*')].map(e => e.localName)")
        turned = tab.evaluate(
            "[...document.querySelectorAll('.name')].every("
            "e => ['isolate', 'plaintext', 'isolate-override'].includes(getComputedStyle(e).unicodeBidi))"
        )
        browser.close()
    assert dialogs == [] and told == []
    assert "pwned" not in title.replace(PAYLOADS[0], "")
    outside = [url for url in asked if not url.startswith(("data:image/png", page.as_uri()))]
    assert outside == []
    assert set(elements) <= ELEMENTS
    assert turned
    assert "[red]not red[/red]" in shown and "{{ 7 * 7 }}" in shown
