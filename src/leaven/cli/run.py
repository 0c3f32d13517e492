"""``leaven run``."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import PydanticUndefined

from leaven.cli.output import print_json
from leaven.errors import ConfigError
from leaven.job.config import RunConfig
from leaven.plain import read_yaml


def _option(field: str, flags: str = "", panel: str = "The run", **extra: Any) -> Any:
    """An option with the description and the default of a field of ``RunConfig``."""
    known = RunConfig.model_fields[field]
    silent = known.default is None or known.default is False or known.default is PydanticUndefined
    default = "" if silent else f" (default: {known.default})"
    return typer.Option(
        flags or "--" + field.replace("_", "-"),
        help=f"{known.description}{default}",
        show_default=False,
        rich_help_panel=panel,
        **extra,
    )


_data = partial(_option, panel="Data")
_promise = partial(_option, panel="Promise")
_features = partial(_option, panel="Features")
_learning = partial(_option, panel="Learning")
_computing = partial(_option, panel="Computing")


def run(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Folder of pictures, Parquet file, torchvision:NAME@ROOT; built-in digits, or "
            "scenes for other tasks, when left out.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        _data(
            "task",
            metavar="classification|segmentation|detection|instance|translation|text-to-image",
        ),
    ] = None,
    labels: Annotated[Path | None, _data("labels")] = None,
    label_column: Annotated[str | None, _data("label_column", metavar="NAME")] = None,
    truth_column: Annotated[str | None, _data("truth_column", metavar="NAME")] = None,
    labels_per_class: Annotated[int | None, _data("labels_per_class")] = None,
    annotations: Annotated[Path | None, _data("annotations")] = None,
    tags: Annotated[str | None, _data("tags", metavar="FILE|maps")] = None,
    labelled: Annotated[int | None, _data("labelled", metavar="N")] = None,
    pairs: Annotated[
        str | None, _data("pairs", metavar="auto|folders|side-by-side|maps|grey|edges")
    ] = None,
    swap: Annotated[bool | None, _data("swap", "--swap/--no-swap")] = None,
    extractor: Annotated[str | None, _data("extractor", metavar="BACKBONE")] = None,
    test_share: Annotated[float | None, _data("test_share")] = None,
    val_share: Annotated[float | None, _data("val_share")] = None,
    promise: Annotated[float | None, _promise("promise", metavar="SHARE")] = None,
    confidence: Annotated[float | None, _promise("confidence", metavar="SHARE")] = None,
    calibration: Annotated[int | None, _promise("calibration", metavar="N")] = None,
    promise_per_class: Annotated[
        bool | None, _promise("promise_per_class", "--promise-per-class/--promise-overall")
    ] = None,
    estimate_by: Annotated[
        str | None, _computing("estimate_by", metavar="auto|held-out|second-opinion")
    ] = None,
    image_size: Annotated[str | None, _data("image_size", metavar="SIDE|HxW")] = None,
    flip: Annotated[bool | None, _data("flip", "--flip/--no-flip")] = None,
    max_unreadable: Annotated[float | None, _data("max_unreadable")] = None,
    features: Annotated[str | None, _features("features", metavar="BACKBONE")] = None,
    feature_dtype: Annotated[
        str | None, _features("feature_dtype", metavar="float32|float16")
    ] = None,
    features_to: Annotated[Path | None, _features("features_to", metavar="FOLDER")] = None,
    method: Annotated[str | None, _learning("method")] = None,
    set: Annotated[
        list[str] | None,
        _learning("set", metavar="NAME=VALUE"),
    ] = None,
    model: Annotated[str | None, _learning("model")] = None,
    weights: Annotated[str | None, _learning("weights")] = None,
    budget: Annotated[str | None, _learning("budget")] = None,
    compare: Annotated[
        bool | None,
        _learning("compare", "--compare/--no-compare"),
    ] = None,
    seed: Annotated[int | None, _learning("seed")] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="0,1,2",
            help="One run for each seed, in OUT/seed-0 and so on; prints mean and spread.",
            rich_help_panel="Learning",
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", min=1, help="Seeds at the same time.", rich_help_panel="Computing"),
    ] = 1,
    device: Annotated[str | None, _computing("device")] = None,
    precision: Annotated[
        str | None,
        _computing("precision", metavar="auto|fp32|bf16"),
    ] = None,
    compile: Annotated[bool | None, _computing("compile", "--compile/--no-compile")] = None,
    threads: Annotated[int | None, _computing("threads")] = None,
    out: Annotated[Path | None, _option("out")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="YAML file with these options by their names; what is given here wins.",
            rich_help_panel="The run",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out; its options are read from there.",
            rich_help_panel="The run",
        ),
    ] = False,
    with_corrections: Annotated[
        bool,
        typer.Option(
            "--with-corrections",
            help="With --resume: train a finished run on for a round, with what people said of its "
            "labels in `leaven review`.",
            rich_help_panel="The run",
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print summary.json on stdout, and nothing else.",
            rich_help_panel="Output",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No log, no bars.", rich_help_panel="Output")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", help="A log with times, places and details.", rich_help_panel="Output"
        ),
    ] = False,
) -> None:
    """Learn from a few labels: labels for the rest, a model and a report.

    The run folder then holds the labels (labels/*.parquet), the model
    (model/), all figures (summary.json) and a page to look at (report.html).
    `leaven predict` and `leaven export` go on from there. A run that was
    stopped goes on with --resume.

    \b
    Examples:
      4 labels per digit, the rest hidden; against learning from them alone:
        leaven run --labels-per-class 4 --compare
      an own folder, with labels.csv of the columns file,label; another net and
      another hyperparameter, see `leaven methods fixmatch`:
        leaven run pictures/ --labels labels.csv --model timm:resnet18 \\
          --set threshold=0.9 --budget 20m --out runs/mine
      seconds in place of hours: a trained backbone looks at every picture once,
      and a classifier on its features and a method without augmentation do the
      rest; the features are kept for the next run, the model takes pictures:
        leaven run pictures/ --features timm:resnet18 --method label-spreading
      boxes, a class per pixel, or masks; 20 labelled pictures, the rest hidden:
        leaven run photos/ --task detection --labelled 20 --image-size 240x320
      photos from label maps, or any pictures from others, in folders A and B:
        leaven run facades/ --task translation --budget 2h
      labels of which 95 of 100 are right, with 95 % confidence, from 200 labels
      that are held out for it; what cannot be promised is left to people:
        leaven run --labels-per-class 25 --promise 0.95 --calibration 200
      go on after a stop or a kill:
        leaven run --resume --out runs/mine
      a further round, with what was corrected in `leaven review runs/mine`:
        leaven run --resume --with-corrections --out runs/mine
    """
    from leaven.cli.logs import start_log
    from leaven.cli.seeds import Manner, kept_seeds, run_seeds

    # Of several processes that torchrun started, the first one speaks.
    silent = os.environ.get("RANK", "0") != "0"
    start_log(quiet=quiet or silent, verbose=verbose)
    several = _seeds(seeds, context.params["seed"])
    chosen = effective(_given(context.params), config, resume=resume, several=bool(several))
    assert chosen.out is not None
    if resume and not several:
        several = kept_seeds(chosen.out)
    if several and with_corrections:
        raise ConfigError(
            "--with-corrections is given for several seeds.",
            "one run, whose labels people looked at",
            "leave --seeds out, and give the folder of one of the runs in --out",
        )
    if several:
        manner = Manner(jobs=jobs, resume=resume, json=json, quiet=quiet, verbose=verbose)
        run_seeds(chosen, several, manner)
        return
    from leaven.cli.one import run_one

    show = not quiet and not silent
    summary = run_one(chosen, resume=resume, show=show, with_corrections=with_corrections)
    if silent:
        return
    if json:
        print_json(summary)
        return
    from leaven.cli.summary import print_summary

    print_summary(summary, chosen.out)


def effective(
    given: dict[str, Any], file: Path | None, *, resume: bool, several: bool = False
) -> RunConfig:
    """The configuration: what is given, over the file, over the run that is gone on with.

    Raises:
        ConfigError: a wrong name, type or value.
    """
    from leaven.cli.seeds import kept_config
    from leaven.job.folder import default_folder

    layers = [given]
    if file is not None:
        layers.insert(0, RunConfig.read(file).model_dump(exclude_unset=True))
    config = _merged(layers).settled()
    folder = config.out or default_folder(
        config, resume=resume, ending="seeds" if several else None
    )
    alone = folder / "config.yaml"
    stored = None
    if resume and not several and alone.exists():
        stored = RunConfig.read(alone)
    elif resume:
        stored = kept_config(folder)
    if stored is not None:
        config = _merged([stored.model_dump(exclude_unset=True), *layers]).settled()
    return config.model_copy(update={"out": folder})


def _merged(layers: list[dict[str, Any]]) -> RunConfig:
    """Later layers win; hyperparameters do so name by name."""
    values: dict[str, Any] = {}
    for layer in layers:
        hyperparameters = {**values.get("set", {}), **layer.get("set", {})}
        values = {**values, **layer, "set": hyperparameters}
    return RunConfig.make(**values)


def _given(parameters: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``RunConfig`` that were given on the command line."""
    given = {
        name: value
        for name, value in parameters.items()
        if name in RunConfig.model_fields and value is not None
    }
    given["set"] = assignments(parameters["set"])
    return given


def assignments(texts: list[str] | None) -> dict[str, Any]:
    """The values by name of ``--set NAME=VALUE``, read as YAML."""
    return dict(_assignment(text) for text in texts or [])


def _assignment(text: str) -> tuple[str, Any]:
    """``name=value`` with the value read as YAML: numbers, true, null, [1, 2]."""
    name, equals, value = text.partition("=")
    try:
        if not equals or not name.strip():
            raise ValueError("no name and value")
        return name.strip(), read_yaml(value)
    except ValueError:
        raise ConfigError(
            f"--set has {text!r}.",
            "NAME=VALUE, for example --set threshold=0.9",
            "see `leaven methods NAME` for the names",
        ) from None


def _seeds(text: str | None, seed: int | None) -> list[int]:
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if (
        seed is not None
        or not all(part.isdecimal() for part in parts)
        or len({*parts}) < len(parts)
    ):
        also = "" if seed is None else f" and --seed {seed}"
        raise ConfigError(
            f"--seeds is {text!r}{also}.",
            "different whole numbers, separated by commas, and no --seed beside them",
            "write for example --seeds 0,1,2",
        )
    return [int(part) for part in parts]
