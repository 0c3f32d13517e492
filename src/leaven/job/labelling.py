"""Whether a run labels pictures, or makes some."""

from __future__ import annotations

from pathlib import Path

from leaven.errors import RunError
from leaven.models.generation import GENERATION


def check_labels_pictures(run: Path, task: str) -> None:
    """Refuses a run that makes pictures, where labels are wanted.

    Raises:
        RunError: it is one.
    """
    if task in GENERATION:
        raise RunError(
            f"The run {run} makes pictures, and labels none.",
            "a run that labels pictures",
            "give another run; report.html shows what this one makes",
        )
