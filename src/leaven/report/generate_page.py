"""The page of made pictures: one HTML file that needs no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leaven.atomic import replacing
from leaven.report import words
from leaven.report.page import environment, own


@dataclass(frozen=True)
class Made:
    """A made picture: its file beside the page, its seed, and a PNG of it to show."""

    file: str
    seed: int
    png: bytes

    @property
    def src(self) -> str:
        return _source(self.png)


@dataclass
class Group:
    """The pictures of one prompt or of one given picture.

    Attributes:
        name: the prompt, or the name of the given file.
        given: a PNG of the given picture.
        pictures: what was made.
        left_out: tokens of the prompt that had no place.
    """

    name: str
    given: bytes | None = None
    pictures: list[Made] = field(default_factory=list)
    left_out: int = 0

    @property
    def src(self) -> str | None:
        return None if self.given is None else _source(self.given)


def write_generate_page(
    path: Path, settings: dict[str, Any], groups: Sequence[Group], count: int
) -> Path:
    """Writes the page with its style and pictures; it loads nothing and runs no script.

    Args:
        path: of the file.
        settings: what all pictures have in common.
        groups: of pictures that are shown.
        count: of all pictures.
    """
    page = render_generated(settings, groups, count)
    with replacing(path) as partial:
        partial.write_text(page, "utf-8", errors="replace")
    return path


def render_generated(settings: dict[str, Any], groups: Sequence[Group], count: int) -> str:
    """The page as HTML. See ``write_generate_page``."""
    shown = sum(len(group.pictures) for group in groups)
    return (
        environment()
        .get_template("generate.html.j2")
        .render(
            settings=settings,
            groups=groups,
            count=count,
            more=count - shown,
            facts=_facts(settings),
            style=own("report.css"),
            more_style=own("generate.css"),
        )
    )


def _facts(settings: dict[str, Any]) -> list[tuple[str, str]]:
    size = settings.get("size")
    rows = [
        ("model", settings.get("model")),
        ("weights", settings.get("weights")),
        ("size", None if size is None else f"{size[0]} x {size[1]}"),
        ("sampler", settings.get("sampler")),
        ("steps", settings.get("steps")),
        ("guidance", settings.get("guidance")),
        ("computed in", f"{settings.get('precision', words.NONE)}, {settings.get('device', '')}"),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _source(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
