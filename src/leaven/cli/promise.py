"""``leaven promise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from leaven.cli.output import print_json, print_table, stderr, stdout, table, words
from leaven.plain import counted


def promise(
    scores: Annotated[
        Path,
        typer.Argument(
            metavar="SCORES",
            help="CSV or Parquet: a column file (or item), and a column of numbers from 0 to 1 for "
            "each class or tag, named like it.",
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option(
            "--labels",
            help="CSV or Parquet: file (or item), and label or tags, of held-out items of SCORES. "
            "The model must not have learnt from them.",
        ),
    ],
    promise: Annotated[
        float,
        typer.Option(
            "--promise", metavar="SHARE", help="Of what is accepted, so much is to be right."
        ),
    ],
    confidence: Annotated[
        float, typer.Option("--confidence", metavar="SHARE", help="With which that is to hold.")
    ] = 0.95,
    tags: Annotated[
        bool,
        typer.Option(
            "--tags", help="An item has any number of them; in LABELS with ; between them."
        ),
    ] = False,
    promise_per_class: Annotated[
        bool,
        typer.Option("--promise-per-class", help="Promise it of each class or tag by itself."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write a row for each item without a label, FILE.csv or FILE.parquet: item, "
            "class, score, accepted; with --tags item, tags, needs_person.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the order of the held-out items.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which labels of any model can be accepted, so that a share of them is right.

    The labelled items of SCORES are the evidence, the others are to be labelled.
    Nothing is assumed of the model, its scores or the data, but this: the
    labelled items are like the others, as if drawn from them at random, and the
    model has learnt from neither. With fewer than `log(1 - confidence) /
    log(promise)` of them nothing can be promised: 59 for 95 %, 149 for 98 %.

    \b
    SCORES                     LABELS              LABELS with --tags
        file,cat,dog               file,label          file,tags
        a.png,0.9,0.1              a.png,cat           a.png,indoors;people
        b.png,0.3,0.7              c.png,dog           c.png,

    An empty cell of tags says that the item has none of them; an item that
    nobody looked at has no row.

    \b
    Examples:
        leaven promise scores.csv --labels labels.csv --promise 0.98
        leaven promise scores.csv --labels labels.csv --promise 0.95 --out accepted.csv
        leaven promise scores.parquet --labels tags.csv --tags --promise 0.9 --json
    """
    from leaven.job.promise_scores import Wanted, promise_scores
    from leaven.job.promise_summary import Asked
    from leaven.job.promised_tables import check_out

    if out is not None:
        check_out(out, (scores, labels))
    asked = Asked(promise, confidence, promise_per_class)
    found = promise_scores(Wanted(scores, labels, asked, tags, seed))
    if out is not None:
        found.write(out)
    if json:
        print_json(found.summary | {"out": None if out is None else str(out)})
        return
    _print(found.summary)
    if out is not None:
        stderr().print(words(f"{counted(len(found.items), 'row')} written to {out}"))


def _print(summary: dict[str, Any]) -> None:
    if summary["per_class"]:
        unit = "tag" if summary["unit"] == "tags" else "class"
        rows = [
            (
                one["class"],
                str(one["kept"]),
                f"{one['threshold']:.4g}" if one["held"] else "none",
                str(one["held_out"]),
            )
            for one in summary["per_class"]
        ]
        print_table(table([unit, "accepted", "from a\nscore of", "held out"], rows, right=3))
    stdout().print(words(summary["text"], style="bold" if summary["held"] else "yellow"))
    if summary["warning"]:
        stdout().print(words(summary["warning"], style="yellow"))
