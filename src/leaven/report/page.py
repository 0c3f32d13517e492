"""Makes the report of a run: one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leaven.atomic import replacing
from leaven.errors import RunError
from leaven.plain import counted
from leaven.report import words
from leaven.report.content import content
from leaven.report.folder import read_run


def write_report(run: Path | str) -> Path:
    """Writes ``report.html`` into the run folder ``run``, from its files alone; returns its path.

    The page holds its style, script and pictures. A content security policy lets it load nothing
    and run no script but its own, whatever the names of files and classes contain.

    Raises:
        RunError: ``run`` is no run folder, or the file cannot be written.
    """
    path = Path(run) / "report.html"
    page = render(Path(run))
    try:
        with replacing(path) as partial:
            partial.write_text(page, "utf-8", errors="replace")
    except OSError as error:
        raise RunError(
            f"The report cannot be written to {path}: {error}.",
            "a folder that can be written, with free space",
            "Free space or change permissions, then run `leaven report` again.",
        ) from error
    return path


def render(run: Path) -> str:
    """The report of the run folder ``run`` as HTML.

    Raises:
        RunError: ``run`` is no run folder.
    """
    script = own("report.js")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            content(read_run(run)),
            style=own("report.css"),
            script=script,
            script_hash=script_hash(script),
        )
    )


def environment() -> Environment:
    """What renders the templates of this package: all that is put in is escaped."""
    made = Environment(
        loader=PackageLoader("leaven.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "count", "decimal", "points"):
        made.filters[name] = getattr(words, name)
    made.filters["counted"] = counted
    return made


def own(name: str) -> Markup:
    """A file of this package, which needs no escaping."""
    return Markup((resources.files("leaven.report") / "templates" / name).read_text("utf-8"))


def script_hash(script: str) -> str:
    """The hash by which the page's security policy knows its own script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
