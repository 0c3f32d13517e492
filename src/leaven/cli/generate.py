"""``leaven generate``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaven.cli.logs import start_log
from leaven.cli.output import bar, print_json, stdout, words
from leaven.errors import ConfigError

if TYPE_CHECKING:
    from leaven.job.generated import Generated

_SIZE = re.compile(r"(\d{1,6})(?:[xX](\d{1,6}))?")


def generate(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="The folder of a finished run, of a model, or of a published PixArt model in the "
            "layout of diffusers.",
        ),
    ],
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROMPT...]", help="What is to be seen, each in quotes."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE|FOLDER",
            help="A text file with one prompt a line; for a run on translation a picture or a label "
            "map, or a folder of them.",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "-n", metavar="N", help="Pictures of each prompt (16), or of each given picture (1)."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Of the first picture of each; the next ones count up.")
    ] = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", help="Of the sampler; 20 of dpm++, 25 of sa, 50 of ddim, 100 of iddpm."
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option("--guidance", help="How strongly the prompt pushes; 1 is no push.  [4.5]"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", metavar="SIDE|HxW", help="Of the pictures; as trained when left out."
        ),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option("--sampler", metavar="dpm++|sa|ddim|iddpm", help="dpm++ if none.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Pictures at once.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="A new or empty folder; RUN/generated/NUMBER if none."
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make pictures from words, or translate label maps and pictures.

    Writes each picture as a PNG with its settings inside, all of them as
    grid.png, and generate.html to look at them. The same settings make the
    same picture, whatever others are made with it.

    \b
    Examples:
        leaven generate runs/words "a three left of a seven" -n 16
        leaven generate runs/words --from prompts.txt -n 4 --steps 25 --sampler sa
        leaven generate runs/maps --from label-maps/ --out photos
        leaven generate PixArt-XL-2-512x512/ "a lighthouse in fog" --device cuda
    """
    from leaven.job import generate as job

    start_log(quiet=False, verbose=False)
    wanted = job.Wanted(
        run, tuple(prompts or ()), source, out, count, seed, steps, guidance, _size(size), sampler,
        batch, device, precision,
    )  # fmt: skip
    with bar("making", shown=not json) as progress:
        made = job.generate(wanted, progress=progress)
    if json:
        print_json(made.as_dict())
    else:
        _print(made)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"--size is {text!r}.",
            "a side or HEIGHTxWIDTH, for example 64 or 120x160",
            "change it.",
        )
    return int(found[1]), int(found[2] or found[1])


def _print(made: Generated) -> None:
    number = len(made.pictures)
    stdout().print(words(f"{number} picture{'s' if number > 1 else ''} in {made.folder}"))
    stdout().print(words(f"look at {made.page}"))
