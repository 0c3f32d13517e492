"""``leaven plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaven.cli.output import print_json, print_table, stderr, stdout, table, words

if TYPE_CHECKING:
    from leaven.job.plan import Plan


def plan(
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="NAME=STEPSxBATCH[@RATE]",
            help="A stage: its steps, pictures per step of all GPUs together, and pictures per "
            "second of one GPU. Once for each stage; the published ones when there is none.",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A run on text-to-image whose stages of the same names say the rates.",
        ),
    ] = None,
    times: Annotated[
        float | None,
        typer.Option(
            "--times", help="The published schedule on a GPU so many times as fast as a V100."
        ),
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="GPUs that share the work.")] = 1,
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="Of one GPU for an hour.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--page",
            metavar="FILE",
            help="Write it as an HTML page, in which numbers can be changed.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what it costs to train a generator: GPU-days of a plan in stages.

    Without a stage it is the published schedule of PixArt-alpha, with the rates
    that its published days mean. For a plan of your own, measure first: a short
    run with the network, the sizes and the batch that you mean, then --run.

    \b
    Examples:
        leaven plan
        leaven plan --times 6 --gpus 8 --price 2.5
        leaven plan --stage pixels=50000x256@300 --stage words=30000x256@180
        leaven plan --run runs/short --stage pixels=50000x256 --page plan.html
    """
    from leaven.errors import ConfigError
    from leaven.job.plan import plan_of, published_plan

    if stage and times is not None:
        raise ConfigError(
            "--times and --stage are both given.",
            "one of them: --times is of the published schedule",
            "write the rates of your stages behind @.",
        )
    if run is not None and not stage:
        raise ConfigError(
            "--run is given, and no stage.",
            "stages whose rates it says, such as --stage pixels=50000x256",
            "add them; the published schedule is of another network.",
        )
    if times is not None and not 0 < times < float("inf"):
        raise ConfigError(f"--times is {times:g}.", "more than 0", "change it.")
    made = plan_of(stage, run, gpus, price) if stage else published_plan(times or 1.0, gpus, price)
    if page is not None:
        made.write_page(page)
    if json:
        print_json(made.as_dict() | {"page": None if page is None else str(page)})
        return
    _print(made)
    if page is not None:
        stderr().print(words(f"page: {page}"))


def _print(made: Plan) -> None:
    rows = [
        [
            stage.name,
            f"{stage.steps:,}",
            f"{stage.batch:,}",
            _short(stage.images / 1e6),
            _short(stage.images_per_second),
            _short(stage.gpu_days),
        ]
        for stage in made.stages
    ]
    columns = ["stage", "steps", "batch", "pictures\nmillions", "pictures\nper second", "GPU-days"]
    print_table(table(columns, rows, right=5))
    stdout().print(
        words(f"{_short(made.gpu_days)} GPU-days", style="bold"), words(f"({made.source})")
    )
    if made.gpus > 1:
        stdout().print(words(f"{_short(made.days)} days on {made.gpus} GPUs, as far as they scale"))
    if made.cost is not None:
        stdout().print(words(f"{made.cost:,.0f} at {made.price:g} per GPU and hour"))


def _short(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 else f"{value:.3g}"
