"""``leaven caption``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaven.cli.output import STYLES, print_json, print_table, safe, stdout, table, words
from leaven.errors import ConfigError

if TYPE_CHECKING:
    from leaven.job.caption_folder import CaptionOptions

_WHAT, _HOW, _OUTPUT = "Captions", "Computing", "Output"
_SHOWN = 5
_LONGEST = 28


def caption(
    context: typer.Context,
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA",
            help="Folder of pictures (a .txt beside a picture is its raw caption) or Parquet file; "
            "scenes for the built-in ones. With --density several, also folders of earlier captions.",
        ),
    ] = None,
    captioner: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Image-to-text model of transformers, by its name on the hub or a local folder.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    raw_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of the raw captions (default: caption, text, prompt or description).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="CSV or Parquet file of raw captions, in place of those that lie with the pictures.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    no_raw: Annotated[
        bool,
        typer.Option("--no-raw", help="Do not show raw captions to it.", rich_help_panel=_WHAT),
    ] = False,
    temperature: Annotated[
        float,
        typer.Option(min=0, help="Of the draws; 0 for none.", rich_help_panel=_WHAT),
    ] = 0.2,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="The longest caption.", rich_help_panel=_WHAT)
    ] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.", rich_help_panel=_WHAT)] = 0,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Only so many pictures, the first ones.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.", rich_help_panel=_HOW)] = 32,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, ...", rich_help_panel=_HOW)
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="auto|fp32|bf16", help="Of the weights.", rich_help_panel=_HOW)
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write to (default: captions/DATA-CAPTIONER)."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where --out was stopped.")
    ] = False,
    txt: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also write each caption as ITEM.txt below this folder; that of the pictures puts "
            "them beside these.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    density: Annotated[
        bool,
        typer.Option(
            "--density",
            help="Write no captions: measure those of DATA and rank several sources by them.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    more_than: Annotated[
        int,
        typer.Option(
            min=0, help="A noun is valid when it occurs more often.", rich_help_panel=_OUTPUT
        ),
    ] = 10,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print captions.json on stdout, and nothing else.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No log, no bar.", rich_help_panel=_OUTPUT)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="A log with details.", rich_help_panel=_OUTPUT)
    ] = False,
) -> None:
    """Write dense captions of pictures with an image-to-text model.

    Each picture is described at length, with the help of the caption it came with
    where there is one. Captions are on the disk after every batch, so a stopped
    job goes on with --resume. OUT/labels has the raw, the written and the cleaned
    captions, OUT/captions.html shows pictures with both, OUT/captions.json tells
    how many nouns they name. What was written is read by
    "leaven run --task text-to-image DATA --labels OUT".
    Needs the extra "captions" (transformers, textblob).

    \b
    Examples:
        leaven caption pictures/ --captioner llava-hf/llava-1.5-7b-hf
        leaven caption pictures/ --captioner models/blip2 --txt pictures/
        leaven caption pairs.parquet --captioner models/llava --raw-column alt_text
        leaven caption --resume --out captions/pictures-blip2
        leaven caption --density shop/ street/ captions/pictures-blip2
    """
    from leaven.cli.logs import start_log

    start_log(quiet=quiet, verbose=verbose)
    if density:
        _check_density(_given(context))
        _rank(data or [], raw_column, more_than, json)
        return
    options = _options(
        data or [], resume, out, _given(context),
        captioner=captioner, labels=labels, raw_column=raw_column, use_raw=not no_raw, temperature=temperature,
        max_tokens=max_tokens, seed=seed, batch=batch, limit=limit, device=device,
        precision=precision, more_than=more_than,
    )  # fmt: skip
    result = _write(options, out=out, resume=resume, txt=txt, show=not quiet)
    if json:
        print_json(result.summary)
        return
    _print(result)


def _given(context: typer.Context) -> set[str]:
    """The names of the options that were said, as ``CaptionOptions`` calls them."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    said = {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    return {"use_raw" if name == "no_raw" else name for name in said}


def _options(
    data: list[str], resume: bool, out: Path | None, given: set[str], **options: Any
) -> CaptionOptions:
    """The options of the job. Where one is gone on with, they are those it began with and what is
    ``given`` now; but a limit is of one call."""
    from leaven.job.caption_folder import CaptionOptions, stored_options

    if resume and not data:
        if out is None:
            raise ConfigError(
                "--resume without DATA and without --out.",
                "what to go on with",
                "give the folder: leaven caption --resume --out FOLDER",
            )
        said = {name: value for name, value in options.items() if name in given}
        return replace(stored_options(out), **{"limit": None, **said})
    if len(data) != 1:
        raise ConfigError(
            f"{len(data) or 'No'} data were given.",
            "one folder of pictures or one Parquet file",
            "leaven caption DATA --captioner NAME; several are for --density alone",
        )
    if options["captioner"] is None:
        raise ConfigError(
            "No captioner was given, and none comes with leaven.",
            "an image-to-text model of transformers: its name on the hub or a local folder",
            "add --captioner, for example --captioner llava-hf/llava-1.5-7b-hf (14 GB), "
            "Salesforce/blip2-opt-2.7b (15 GB), Salesforce/blip-image-captioning-base (1 GB) or a "
            "folder of yours",
        )
    return CaptionOptions(data[0], **options)


def _write(options: CaptionOptions, **how: Any) -> Any:
    """The job; interrupted, it says how to go on."""
    from leaven.cli.main import INTERRUPTED
    from leaven.job.caption import caption as run_caption
    from leaven.job.caption_folder import OPTIONS, caption_folder

    try:
        return run_caption(options, **how)
    except KeyboardInterrupt:
        folder = how["out"] or caption_folder(options.data, options.captioner)
        begun = (folder / OPTIONS).exists()
        go_on = f"Go on with: leaven caption --resume --out {safe(folder)}" if begun else ""
        typer.echo(f"Stopped. {go_on}".rstrip(), err=True)
        raise typer.Exit(INTERRUPTED) from None


def _check_density(given: set[str]) -> None:
    foreign = given - {"data", "density", "raw_column", "more_than", "json", "quiet", "verbose"}
    if foreign:
        option = "--" + min(foreign).replace("_", "-").replace("use-raw", "no-raw")
        raise ConfigError(
            f"{option} is given with --density, which writes no captions.",
            "sources of captions, --raw-column and --more-than",
            f"leave {option} out",
        )


def _rank(data: list[str], raw_column: str | None, more_than: int, json: bool) -> None:
    from leaven.job.caption_density import rank_sources

    if not data:
        raise ConfigError(
            "--density without data.", "one source of captions or more", "name them behind it"
        )
    found = rank_sources(data, raw_column, more_than)
    if json:
        print_json([{"source": source, **one.as_dict()} for source, one in found])
        return
    rows = [
        (
            source if len(source) <= _LONGEST else "..." + source[3 - _LONGEST :], one.pictures, f"{one.per_picture:.2f}", one.distinct, one.valid,
            f"{100 * one.valid_share:.1f} %", one.total,
        )
        for source, one in found
    ]  # fmt: skip
    columns = ("source", "pictures", "nouns each", "DN", "VN", "VN/DN", "nouns")
    print_table(table(columns, rows, right=6))


def _print(result: Any) -> None:
    """What was written, how much it names, and what is wrong with it."""
    from leaven.report.caption_page import density_rows

    summary = result.summary
    stdout().print(
        words(
            f"{summary['data']['name']}: {summary['captions']} captions of {summary['looked_at']} "
            f"pictures, {summary['before']} of them from before"
        )
    )
    print_table(table(("", "raw", "written"), density_rows(summary["density"]), right=2))
    for one in summary["findings"]:
        stdout().print(words(f"{one['level']}:", style=STYLES[one["level"]]).append(
            words(f" {one['text']}")
        ))  # fmt: skip
    for note in summary["notes"]:
        stdout().print(words("info:", style=STYLES["info"]).append(words(f" {note}")))
    for one in summary["unreadable"][:_SHOWN]:
        stdout().print(words(f"no caption: {one['item']} ({one['reason']})"))
    if len(summary["unreadable"]) > _SHOWN:
        stdout().print(words(f"and {len(summary['unreadable']) - _SHOWN} more in captions.json"))
    if "txt" in summary:
        stdout().print(words(f"txt: {summary['txt']['files']} files in {summary['txt']['folder']}"))
    for name in ("captions.html", "labels"):
        stdout().print(words(f"{name.partition('.')[2] or name}: {result.folder / name}"))
