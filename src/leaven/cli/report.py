"""``leaven report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.output import print_json, safe


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    json: Annotated[bool, typer.Option("--json", help="Print the path as JSON.")] = False,
) -> None:
    """Write the HTML report of a run again, from its folder alone, and print its path.

    A run writes its report when it ends. This is for a run that was stopped
    or is still going, or one made by an earlier version of leaven.

    \b
    Examples:
        leaven report runs/digits-fixmatch-0
        leaven report runs/digits-fixmatch-0 --json
    """
    from leaven.report import write_report

    path = write_report(run)
    if json:
        print_json({"report": str(path)})
    else:
        typer.echo(safe(path))
