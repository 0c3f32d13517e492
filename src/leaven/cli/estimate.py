"""``leaven estimate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaven.cli.output import bar, percent, print_json, print_table, stderr, stdout, table, words
from leaven.plain import counted

if TYPE_CHECKING:
    from leaven.job.estimation import Estimation


def estimate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished run, or of a model.")
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Pictures, with or without labels; as for `leaven run`."
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="CSV file with the columns file and label, of known ones."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="DATA",
            help="Labelled pictures of the kind that the model was trained on, which it has not "
            "learnt from; the held-out pictures of RUN when left out.",
        ),
    ] = None,
    second: Annotated[
        Path | None,
        typer.Option(
            "--second",
            metavar="RUN",
            help="A second model of the same classes, trained apart, to agree with.",
        ),
    ] = None,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt/--no-adapt",
            help="Ask a copy that is adapted to the pictures for a second opinion, which takes as "
            "long as a few epochs of training.",
        ),
    ] = True,
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A hyperparameter of the second opinion; see `leaven methods second-opinion`.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write a row for each picture, FILE.csv or FILE.parquet: item, class, "
            "confidence, second_opinion, probably_wrong, truth.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the adaptation.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="CPU threads; 0 finds the fastest.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how accurate a model is on pictures without labels.

    Several ways to tell are tried, as many as the evidence allows, and the one
    that has proved best is marked. Each also says in which pictures the model
    is probably wrong. Labels in DATA, where there are any, are used to show the
    true accuracy beside the estimates, and for nothing else; those that RUN has
    learnt are left out of it.

    \b
    What each needs:
        confidence             nothing but the model
        calibrated-confidence, difference, atc-confidence, atc-entropy
                               held-out labelled pictures, of RUN or --source
        agreement              --second RUN
        adapted, second-opinion
                               a short training on DATA (--no-adapt: without)

    \b
    Examples:
        leaven estimate runs/mine new-pictures/
        leaven estimate runs/mine new-pictures/ --out doubtful.csv
        leaven estimate runs/mine new-pictures/ --second runs/other --no-adapt
        leaven estimate runs/mine labelled-pictures/ --json
    """
    from leaven.cli.run import assignments
    from leaven.job import estimate as job
    from leaven.job.estimation import check_out

    if out is not None:
        check_out(out)
    wanted = job.Wanted(
        run, data, labels, source, second, adapt, assignments(set), seed, device, threads
    )
    with bar("reading", shown=not json) as progress:
        found = job.estimate(wanted, show=not json, progress=progress)
    if out is not None:
        found.write(out)
    if json:
        print_json(found.as_dict() | {"out": None if out is None else str(out)})
        return
    _print(found)
    if out is not None:
        stderr().print(words(f"{counted(len(found.images), 'row')} written to {out}"))


def _print(found: Estimation) -> None:
    from leaven.quality.accuracy import ESTIMATORS

    known, rows = found.accuracy is not None, []
    for name, one in found.estimates.items():
        chosen = name == found.best.name
        row = [f"{'* ' if chosen else '  '}{name}", ESTIMATORS[name], percent(one.accuracy)]
        if found.accuracy is not None:
            precision, recall = found.found_wrong(name)
            error = f"{100 * (one.accuracy - found.accuracy):+.1f}"
            row += [error, percent(precision), percent(recall)]
        rows.append([*row, str(int(one.wrong.sum()))])
    columns = ["", "how", "estimated\naccuracy"]
    columns += ["error\npoints", "flags\nright", "errors\nflagged"] if known else []
    columns += ["probably\nwrong"]
    print_table(table(columns, rows, right=len(columns) - 2))
    best = found.best
    pictures = counted(len(found.images), "picture")
    text = f"Estimated accuracy on {pictures}: {percent(best.accuracy)} ({best.name})"
    if found.likely is not None:
        text += f", likely {percent(found.likely.low)} to {percent(found.likely.high)}"
    stdout().print(words(text, style="bold"))
    if found.accuracy is not None:
        text = f"True accuracy on {int(found.known.sum())} labelled ones: {percent(found.accuracy)}"
        stdout().print(words(text))
    for note in found.notes:
        stderr().print(words(f"note: {note}", style="cyan"))
