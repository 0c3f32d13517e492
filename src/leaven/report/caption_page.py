"""The page of a caption job: pictures with their raw and their written caption, side by side."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leaven.atomic import replacing
from leaven.errors import RunError
from leaven.report import words
from leaven.report.page import environment, own

Record = dict[str, Any]

LONGEST = 3000
"""Letters of a caption that are shown."""

LISTED = 200
"""Unreadable pictures that are listed; all of them are in captions.json."""

DENSITY = (
    ("per_picture", "nouns per picture"),
    ("distinct", "distinct nouns (DN)"),
    ("valid", "valid nouns (VN)"),
    ("valid_share", "VN/DN"),
    ("total", "nouns in all"),
)


def write_caption_page(path: Path, summary: Record, cards: Sequence[Record]) -> Path:
    """Writes the page with its style and pictures; it loads nothing and runs no script.

    Args:
        path: of the file.
        summary: the content of ``captions.json``.
        cards: ``{"item", "png", "raw", "text", "cut"}`` of the pictures that are shown.

    Raises:
        RunError: the file cannot be written.
    """
    page = render_captions(summary, cards)
    try:
        with replacing(path) as partial:
            partial.write_text(page, "utf-8", errors="replace")
    except OSError as error:
        raise RunError(
            f"The page of the captions cannot be written to {path}: {error}.",
            "a folder that can be written, with free space",
            "Free space or change permissions, then resume.",
        ) from error
    return path


def render_captions(summary: Record, cards: Sequence[Record]) -> str:
    """The page as HTML; see ``write_caption_page``."""
    return (
        environment()
        .get_template("captions.html.j2")
        .render(
            summary=summary,
            facts=_facts(summary),
            density=density_rows(summary["density"]),
            cards=[_card(card) for card in cards],
            unreadable=summary["unreadable"][:LISTED],
            more=max(0, len(summary["unreadable"]) - LISTED),
            style=own("report.css"),
            more_style=own("captions.css"),
        )
    )


def density_rows(density: Record) -> list[tuple[str, str, str]]:
    """Name, raw and written of each figure of concept density; a dash where there is none."""
    written, raw = density["written"], density.get("raw", {})
    return [
        (title, _figure(name, raw.get(name)), _figure(name, written.get(name)))
        for name, title in DENSITY
    ]


def _figure(name: str, value: object) -> str:
    if name == "per_picture":
        return words.decimal(value, 2)
    return words.percent(value) if name == "valid_share" else words.count(value)


def _card(card: Record) -> Record:
    return {
        "item": card["item"],
        "src": "data:image/png;base64," + base64.b64encode(card["png"]).decode("ascii"),
        "raw": _short(card["raw"]),
        "text": _short(card["text"]),
        "cut": card["cut"],
    }


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


def _facts(summary: Record) -> list[tuple[str, str]]:
    said = summary["raw_captions"]
    shown = "shown to the captioner" if summary["raw_used"] else "not shown to the captioner"
    return [
        ("captioner", str(summary["captioner"])),
        ("captions", f"{words.count(summary['captions'])} of {words.count(summary['looked_at'])}"),
        ("raw captions", f"{words.count(said)}, {shown}" if said else "none"),
        ("tokens", words.count(summary["tokens"])),
        ("temperature, seed", f"{summary['temperature']:g}, {summary['seed']}"),
        ("at most", f"{words.count(summary['max_tokens'])} tokens each"),
        ("time", words.duration(summary["seconds"])),
    ]
