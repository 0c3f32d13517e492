"""One run, as the commands start it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from leaven.cli.output import bar, safe
from leaven.job.config import RunConfig


def run_one(
    config: RunConfig,
    *,
    resume: bool,
    show: bool,
    with_corrections: bool = False,
    resumed_in: Path | None = None,
) -> dict[str, Any]:
    """One run in ``config.out``; its summary. Interrupted, it says how to go on: by the folder
    ``resumed_in`` of several runs, where there is one."""
    from leaven.cli.main import INTERRUPTED
    from leaven.job import run as run_job

    try:
        with bar("reading", shown=show) as progress:
            return run_job(
                config=config,
                resume=resume,
                with_corrections=with_corrections,
                show=show,
                progress=progress,
            ).summary
    except KeyboardInterrupt:
        assert config.out is not None
        begun = (config.out / "config.yaml").exists()
        how = (
            f"Go on with: leaven run --resume --out {safe(resumed_in or config.out)}"
            if begun
            else ""
        )
        typer.echo(f"Stopped. {how}".rstrip(), err=True)
        raise typer.Exit(INTERRUPTED) from None
