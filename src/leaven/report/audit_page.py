"""The page of an audit: one HTML file that needs no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leaven.atomic import replacing
from leaven.errors import RunError
from leaven.quality.audit import KINDS, AuditFinding
from leaven.report import words
from leaven.report.page import environment, own

Record = dict[str, Any]

LISTED = 200
"""Findings of a kind that are listed without a picture; all of them are in audit.parquet."""

TITLES = {
    "label": "Labels that are probably wrong",
    "leak": "Leaks between splits",
    "duplicate": "Duplicates",
    "foreign": "Foreign pictures",
    "imbalance": "Rare classes",
    "broken": "Broken pictures",
}

MEANINGS = {
    "label": "Models that had not learnt from these labels say something else. The surest first.",
    "leak": "The same picture lies in two splits: a test that knows the answers measures nothing.",
    "duplicate": "The same picture is there twice in a split, as it is or saved again, scaled, "
    "mirrored or turned by quarters.",
    "foreign": "Unlabelled pictures that are farther from the labelled ones than these are from "
    "each other. About 1 % of pictures of the labelled kind are found here by chance.",
    "imbalance": "Classes with fewer than a fifth of an equal share of the labels.",
    "broken": "Pictures that cannot be read, show one colour alone, or have an odd size.",
}


def write_audit_page(
    path: Path, summary: Record, findings: Sequence[AuditFinding], cards: Sequence[Record]
) -> Path:
    """Writes the page with its style and pictures; it loads nothing and runs no script.

    Args:
        path: of the file.
        summary: the content of ``audit.json``.
        findings: by kind, the worst first.
        cards: pictures of findings: ``{"finding": number, "panels": [(name, png), ...]}``.

    Raises:
        RunError: the file cannot be written.
    """
    page = render_audit(summary, findings, cards, of_run=(path.parent / "config.yaml").is_file())
    try:
        with replacing(path) as partial:
            partial.write_text(page, "utf-8", errors="replace")
    except OSError as error:
        raise RunError(
            f"The page of the audit cannot be written to {path}: {error}.",
            "a folder that can be written, with free space",
            "Free space or change permissions, then audit again.",
        ) from error
    return path


def render_audit(
    summary: Record,
    findings: Sequence[AuditFinding],
    cards: Sequence[Record],
    *,
    of_run: bool = False,
) -> str:
    """The page as HTML; with ``of_run`` it links to the report beside it. See ``write_audit_page``."""
    return (
        environment()
        .get_template("audit.html.j2")
        .render(
            summary=summary,
            of_run=of_run,
            tiles=[(TITLES[kind], summary["findings"][kind], kind) for kind in KINDS],
            sections=[_section(kind, findings, cards) for kind in KINDS],
            facts=_facts(summary),
            style=own("report.css"),
            more_style=own("audit.css"),
        )
    )


def _section(kind: str, findings: Sequence[AuditFinding], cards: Sequence[Record]) -> Record:
    numbers = [number for number, one in enumerate(findings) if one.kind == kind]
    pictured = {card["finding"]: card for card in cards}
    listed = [findings[number] for number in numbers if number not in pictured]
    return {
        "kind": kind,
        "title": TITLES[kind],
        "meaning": MEANINGS[kind],
        "count": len(numbers),
        "cards": [_card(findings[n], pictured[n]) for n in numbers if n in pictured],
        "rows": [_row(one) for one in listed[:LISTED]],
        "more": max(0, len(listed) - LISTED),
    }


def _card(one: AuditFinding, card: Record) -> Record:
    panels = [
        (name, "data:image/png;base64," + base64.b64encode(png).decode("ascii"))
        for name, png in card["panels"]
    ]
    return {**_row(one), "panels": panels}


def _row(one: AuditFinding) -> Record:
    return {
        "item": one.item,
        "split": one.split or words.NONE,
        "score": one.score,
        "given": one.given,
        "suggested": one.suggested,
        "other": one.other,
        "other_split": one.other_split,
        "contradicts": bool(one.contradicts),
        "fault": one.fault or "",
        "text": one.text,
    }


def _facts(summary: Record) -> list[tuple[str, str]]:
    data, labels = summary["data"], summary["labels"]
    splits = ", ".join(f"{name} {words.count(n)}" for name, n in data["splits"].items())
    rows = [
        (
            "pictures",
            f"{words.count(data['items'])}, of which {words.count(data['readable'])} can be read",
        ),
        ("labelled", words.count(data["labelled"])),
        ("splits", splits),
        ("classes", words.count(len(data["classes"]))),
        ("labels judged", words.count(labels.get("judged"))),
        ("by nets that learnt from the others", words.count(labels.get("by_folds"))),
        ("by the model of the run", words.count(labels.get("by_run"))),
        ("models agree with the given label", words.percent(labels.get("agreement"))),
        ("AP50 of models and given boxes", words.percent(labels.get("agreement_map50"))),
        ("mean IoU of models and given pixels", words.percent(labels.get("agreement_miou"))),
        ("seed, budget", f"{summary['seed']}, {summary['budget']}"),
        ("time", words.duration(summary["seconds"])),
    ]
    return [(name, value) for name, value in rows if value != words.NONE]
