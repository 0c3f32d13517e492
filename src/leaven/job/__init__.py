"""One whole run: from data to labels, a model, a summary and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leaven.job.config import RunConfig

if TYPE_CHECKING:
    from leaven.job.pipeline import Result, load_result, run

__all__ = ["Result", "RunConfig", "load_result", "run"]


def __getattr__(name: str) -> Any:
    """``run`` and what belongs to it load torch, which the options of a run do not need."""
    if name in ("Result", "load_result", "run"):
        from leaven.job import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
