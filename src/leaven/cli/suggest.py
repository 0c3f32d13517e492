"""``leaven suggest``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaven.cli.output import bar, print_json, print_table, stderr, table, words
from leaven.plain import counted

if TYPE_CHECKING:
    from leaven.job.suggest import Suggestions

_MOST_SHOWN = 50


def suggest(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many.")] = 50,
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="auto, typical, uncertain-diverse, badge, k-center, margin, entropy, "
            "least-confidence, disagreement, promise or random; see below.",
        ),
    ] = "auto",
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="RUN",
            help="disagreement: another run on the same pictures; else the round before the last.",
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            "--target",
            help="promise: the accuracy to be promised, between 0 and 1; that of the run, or 0.95, "
            "when not given.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PLACE",
            help="Write a table, FILE.csv or FILE.parquet, or a folder with copies of the pictures "
            "in this order.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where the pictures are now, if they were moved."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a person should label next, so that few labels teach much.

    For classes, pixels, boxes and masks. What a person has labelled, or has
    corrected or skipped since the run, is left out. Of pixels and boxes whole
    pictures are suggested. A table is printed: what, why, and what the model
    believes.

    \b
    --strategy
        auto               typical while the model has learned little: with
                           fewer than 2 labels per class, or fewer than 50 and
                           a mean confidence below 80 %; then promise. With
                           pixels or boxes typical for the first 10 pictures,
                           then uncertain-diverse
        typical            the most typical item of each group without a label
        uncertain-diverse  unsure, like many others, and unlike each other
        badge              would move the network far, each in another direction
                           (classes)
        k-center           far from everything that is labelled
        margin, entropy, least-confidence
                           the most unsure ones; for classes and boxes no
                           picture is read
        disagreement       two rounds, or two runs, say different things
        promise            a label there lets most other labels be accepted
        random             at random, to measure with

    \b
    Examples:
        leaven suggest runs/mine
        leaven suggest runs/mine -n 20 --out to-label/
        leaven suggest runs/mine --strategy promise --target 0.98 --out next.csv
        leaven suggest runs/mine --strategy disagreement --against runs/other --json
    """
    from leaven.errors import ConfigError
    from leaven.job import suggest as job
    from leaven.job.suggest_files import check_out, write_suggestions

    if target is not None and not 0 < target < 1:
        raise ConfigError(
            f"--target is {target:g}.", "an accuracy above 0 and below 1", "give, for example, 0.98"
        )
    if out is not None:
        check_out(out)
    with bar("looking", shown=True) as progress:
        found = job.suggest(
            run,
            count,
            strategy,
            against=against,
            target=target,
            data=data,
            seed=seed,
            device=device,
            progress=progress,
        )
    if out is not None:
        write_suggestions(out, found, data)
    if json:
        print_json(found.as_dict() | {"out": None if out is None else str(out)})
    elif out is None:
        _print(found)
    console = stderr()
    for note in found.notes:
        console.print(words(note, style="yellow"))
    if found.items:
        console.print(
            words(
                f"{len(found.items)} of {found.pool} by {found.strategy}: {found.about}. "
                f"{counted(found.labelled, 'item')} {'is' if found.labelled == 1 else 'are'} labelled."
            )
        )
    if out is not None and not json:
        console.print(words(f"written to {out}"))


def _print(found: Suggestions) -> None:
    rows = [
        (one.item, one.why, one.believed, f"{one.score:.3g}") for one in found.items[:_MOST_SHOWN]
    ]
    if rows:
        print_table(table(("item", "why", "believed", "score"), rows, right=1))
    if len(found.items) > _MOST_SHOWN:
        more = len(found.items) - _MOST_SHOWN
        stderr().print(words(f"and {more} more; --out FILE or --json gives all", style="dim"))
