"""``leaven corrections``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaven.cli.output import STYLES, bar, print_json, print_table, stderr, stdout, table, words
from leaven.plain import counted

if TYPE_CHECKING:
    from leaven.job.tool_corrections import Account

DONE_IN_PART = 1


def corrections(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A JSON export of Label Studio, annotations.xml of CVAT (CVAT for images 1.1), "
            "or a folder with one of these.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look and tell; record nothing.")
    ] = False,
    changed_only: Annotated[
        bool,
        typer.Option(
            "--changed-only",
            help="Record changed pictures alone. For a task of CVAT that is not finished: CVAT "
            "does not tell which pictures somebody has looked at.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Record the corrections that people made in Label Studio or CVAT.

    Write the labels of a run for the tool with `leaven export RUN --labels
    label-studio` (or cvat), correct them there, export the project, and give
    that file here. A picture that was left as it is is accepted, a changed
    one relabelled, a cancelled one skipped; each is a line of
    RUN/corrections.jsonl. Giving the same file again records nothing twice.
    A picture that cannot be used is left out whole, and the table says why;
    the exit code is then 1.

    \b
    Examples:
        leaven corrections runs/photos project-3.json --dry-run
        leaven corrections runs/photos project-3.json
        leaven corrections runs/cells annotations.xml --changed-only
        leaven run --resume --with-corrections --out runs/photos
    """
    from leaven.job.tool_corrections import import_corrections

    with bar("reading", shown=not json) as show:
        account = import_corrections(
            run, file, record=not dry_run, changed_only=changed_only, progress=show
        )
    if json:
        print_json(_as_dict(account, run, dry_run))
    else:
        _print(account, run, dry_run)
    if account.unusable:
        raise typer.Exit(DONE_IN_PART)


_COUNTS = {
    "pictures": "pictures read",
    "accepted": "accepted: as the run labelled them",
    "relabelled": "relabelled: something else is right",
    "skipped": "skipped",
    "untouched": "not annotated yet",
    "unchanged": "unchanged, not recorded",
    "known": "recorded before",
    "older": "older than what stands from elsewhere",
    "unusable": "left out",
}


def _as_dict(account: Account, run: Path, dry_run: bool) -> dict[str, Any]:
    from leaven.labels.corrections import FILE

    return {
        "by": account.by,
        **{name: getattr(account, name) for name in _COUNTS},
        "left_out": {
            reason: {"pictures": one.count, "first": one.first}
            for reason, one in account.left_out.items()
        },
        "passed_over": dict(account.passed),
        "notes": dict(account.notes),
        "recorded": 0 if dry_run else account.recorded,
        "path": str(run / FILE),
    }


def _print(account: Account, run: Path, dry_run: bool) -> None:
    counts = {name: getattr(account, name) for name in _COUNTS}
    rows = [(_COUNTS[name], count) for name, count in counts.items() if count or name == "pictures"]
    print_table(table([account.by, "pictures"], rows, right=1))
    for reason, one in account.left_out.items():
        stderr().print(
            words(
                f"left out, {one.count}: {reason}; the first is {one.first}",
                style=STYLES["warning"],
            )
        )
    for kind, count in account.passed.items():
        stdout().print(words(f"passed over, neither a box nor a mask: {count} of kind {kind}"))
    for note, count in account.notes.items():
        stdout().print(words(f"{count} {note}"))
    if dry_run:
        stdout().print(words(f"nothing was recorded; {account.recorded} would be"))
    elif account.recorded:
        stdout().print(
            words(
                f"{counted(account.recorded, 'correction')} recorded in {run / 'corrections.jsonl'}; learn "
                f"from them: leaven run --resume --with-corrections --out {run}"
            )
        )
    else:
        stdout().print(words("nothing new was recorded"))
