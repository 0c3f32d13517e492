"""``leaven audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from leaven.cli.output import bar, print_json, print_table, stdout, table, words
from leaven.job.config import RunConfig
from leaven.plain import counted

_SHOWN = 8


def _option(field: str, panel: str, help: str = "", **extra: Any) -> Any:
    """An option with the description of a field of ``RunConfig``."""
    described = help or str(RunConfig.model_fields[field].description)
    return typer.Option(
        "--" + field.replace("_", "-"),
        help=described,
        show_default=False,
        rich_help_panel=panel,
        **extra,
    )


def audit(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Folder of pictures, Parquet file, torchvision:NAME@ROOT; that of RUN, or the "
            "built-in digits, when left out.",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A finished run: its splits are looked at, its model judges the labels it has not "
            "seen, and the audit is written into its folder.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        _option("task", "Data", metavar="classification|segmentation|detection|instance"),
    ] = None,
    labels: Annotated[Path | None, _option("labels", "Data")] = None,
    label_column: Annotated[str | None, _option("label_column", "Data", metavar="NAME")] = None,
    annotations: Annotated[Path | None, _option("annotations", "Data")] = None,
    image_size: Annotated[str | None, _option("image_size", "Data", metavar="SIDE|HxW")] = None,
    features: Annotated[
        str | None,
        _option(
            "features",
            "Judging",
            "judge by logistic regression on what a frozen backbone says of each picture, in place "
            "of nets of our own: pixels, timm:NAME, torchvision:NAME, openclip:NAME (default: none)",
            metavar="BACKBONE",
        ),
    ] = None,
    weights: Annotated[str | None, _option("weights", "Judging")] = None,
    model: Annotated[
        str | None, _option("model", "Judging", "the net of each fold (default: auto)")
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            "--folds",
            min=2,
            help="Parts of the labels; each is judged by a net that learnt from the others.",
            rich_help_panel="Judging",
        ),
    ] = 5,
    budget: Annotated[
        str | None,
        _option(
            "budget",
            "Judging",
            "steps (3000) or time (10m) of all nets together (default: 3000 steps for classes, "
            "1200 for pixels and boxes); the same steps give the same findings",
        ),
    ] = None,
    seed: Annotated[int | None, _option("seed", "Judging")] = None,
    device: Annotated[str | None, _option("device", "Computing")] = None,
    precision: Annotated[
        str | None, _option("precision", "Computing", metavar="auto|fp32|bf16")
    ] = None,
    threads: Annotated[int | None, _option("threads", "Computing")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The folder to write to (default: RUN, or audits/DATA)."),
    ] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print audit.json on stdout, and nothing else.", rich_help_panel="Output"
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No log, no bars.", rich_help_panel="Output")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="A log with details.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Find what is wrong with a data set: labels, copies, leaks, foreign and broken pictures.

    Every label is judged by a model that has not learnt from it. Found are
    labels that are probably wrong (of pictures, boxes or pixels), pictures that
    are there twice, pictures that lie in two splits, unlabelled pictures unlike
    the labelled ones, rare classes, and pictures that cannot be used. Nothing is
    changed: audit.parquet has a row for each finding, audit.html shows the worst
    ones, audit.json has the figures. Needs the extra "audit" (cleanlab).

    \b
    Examples:
        leaven audit pictures/ --labels labels.csv
        leaven audit pictures/ --features timm:resnet18
        leaven audit cells/ --task detection --budget 20m
        leaven audit --run runs/mine
        leaven audit pictures/ --json | jq .findings
    """
    from leaven.cli.logs import start_log
    from leaven.job.audit import audit as run_audit
    from leaven.job.audit import audit_config

    start_log(quiet=quiet, verbose=verbose)
    given = {
        "data": data, "task": task, "labels": labels, "label_column": label_column,
        "annotations": annotations, "image_size": image_size, "features": features,
        "weights": weights, "model": model, "budget": budget, "seed": seed, "device": device,
        "precision": precision, "threads": threads,
    }  # fmt: skip
    config = audit_config(
        run, **{name: value for name, value in given.items() if value is not None}
    )
    with bar("reading", shown=not quiet) as progress:
        result = run_audit(
            run=run, config=config, folds=folds, out=out, show=not quiet, progress=progress
        )
    if json:
        print_json(result.summary)
        return
    _print(result)


def _print(result: Any) -> None:
    """The findings in a table, the worst of each kind, and where all of them are."""
    from leaven.quality.audit import KINDS

    summary = result.summary
    data = summary["data"]
    stdout().print(
        words(
            f"{data['name']}: {counted(data['items'], 'picture')}, {data['labelled']} labelled, "
        ).append(words(f"{counted(summary['labels']['judged'], 'label')} judged"))
    )
    rows = [
        (kind, summary["findings"][kind], meaning)
        for kind, meaning in KINDS.items()
        if summary["findings"][kind]
    ]
    if rows:
        print_table(table(("kind", "found", ""), rows))
        worst = []
        for kind, _, _ in rows:
            own = [one for one in result.findings if one.kind == kind]
            worst += [(kind, one.item, one.text) for one in own[:_SHOWN]]
            if len(own) > _SHOWN:
                worst.append(("", f"and {len(own) - _SHOWN} more", ""))
        stdout().print()
        print_table(table(("kind", "item", "why"), worst))
    else:
        stdout().print(words("Nothing was found.", style="green"))
    for note in summary["notes"]:
        stdout().print(words("info:", style="cyan").append(words(f" {note}")))
    for name in ("audit.html", "audit.parquet"):
        stdout().print(words(f"{name.partition('.')[2]}: {result.folder / name}"))
