"""The page of a plan of training: one HTML file that computes, and needs no network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from leaven.atomic import replacing
from leaven.errors import RunError
from leaven.quality.generation.cost import PublishedStage
from leaven.report.page import environment, own, script_hash
from leaven.version import __version__


def write_plan_page(path: Path, plan: dict[str, Any], published: Iterable[PublishedStage]) -> Path:
    """Writes the page: numbers can be changed in it, and it computes days and cost again.

    Args:
        path: of the file.
        plan: ``Plan.as_dict()``.
        published: the schedule that stands below, to compare with.

    Raises:
        RunError: the file cannot be written.
    """
    page = render_plan(plan, published)
    try:
        with replacing(path.resolve()) as partial:
            partial.write_text(page, "utf-8", errors="replace")
    except OSError as error:
        raise RunError(
            f"The page cannot be written to {path}: {error}.",
            "a folder that is there and can be written, with free space",
            "Choose another --page.",
        ) from error
    return path


def render_plan(plan: dict[str, Any], published: Iterable[PublishedStage]) -> str:
    """The page as HTML. See ``write_plan_page``."""
    script = own("plan.js")
    return (
        environment()
        .get_template("plan.html.j2")
        .render(
            plan=plan,
            published=list(published),
            version=__version__,
            style=own("report.css"),
            more_style=own("plan.css"),
            script=script,
            script_hash=script_hash(script),
        )
    )
