"""``leaven predict``."""

from __future__ import annotations

import csv as csv_format
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from leaven.cli.output import bar, percent, print_json, safe, stderr, stdout, words
from leaven.errors import DataError, RunError
from leaven.plain import counted

if TYPE_CHECKING:
    from leaven.models import Classifier

_AT_ONCE = 512
_MOST_SHOWN = 100


class Prediction(NamedTuple):
    """What the model sees in one picture."""

    file: str
    label: str
    confidence: float


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Pictures, or folders of pictures.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write a CSV file: file,label,confidence; of boxes also x1,y1,x2,y2, of pixels "
            "the share of the picture. Folders of its path that are missing are made.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Pixels, boxes and masks: draw them over the pictures; of pixels and masks of things "
            "also a PNG of the classes or of the things' numbers.",
        ),
    ] = None,
    score: Annotated[
        float,
        typer.Option("--score", min=0, max=1, help="Boxes and masks from this score on."),
    ] = 0.5,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Say what the model of a run sees in pictures, and how sure it is.

    The class of a picture, the classes of its pixels, or the things in it: as
    the run was for. The pictures are read and scaled exactly as for the
    training; places are in pixels of the picture as it is. A file that cannot
    be read is named and skipped; the exit code is 1 then, and 0 when every
    picture was read.

    \b
    Examples:
        leaven predict runs/mine cat.jpg dog.jpg
        leaven predict runs/mine new-pictures/ --csv predictions.csv
        leaven predict runs/mine new-pictures/ --json
        leaven predict runs/cells new-pictures/ --score 0.7 --out drawn/
    """
    from torch import nn

    from leaven.job.output_paths import check_file, check_place
    from leaven.models import Classifier, load_model
    from leaven.models.generation.maker import PictureMaker
    from leaven.train.settings import find_processes

    if csv is not None:
        check_file(csv, "--csv")
    if out is not None:
        check_place(out, "a folder for the drawings")
    if not (run / "model").is_dir() and not (run / "config.yaml").is_file():
        raise RunError(
            f"There is no run in {run}.", "the folder of a finished run", "check the path"
        )
    model = load_model(run / "model", nn.Module)
    if isinstance(model, PictureMaker):
        raise DataError(
            f"The model of {run} makes pictures, and says nothing of them.",
            "a run that tells classes, pixels or things",
            f"use `leaven generate {run}`.",
        )
    files = _files(images)
    _, where = find_processes(device)
    failed: dict[str, str] = {}
    if not isinstance(model, Classifier):
        from leaven.cli.predict_places import predict_places

        predict_places(model.to(where), files, json=json, csv=csv, out=out, score=score)
        return
    if out is not None:
        raise DataError(
            f"--out is given, and the run {run} tells classes of whole pictures.",
            "a run on pixels, boxes or masks, which can be drawn",
            "use --csv or --json",
        )
    with bar("predicting", shown=True) as progress:
        found: list[Prediction] = []
        for part in _predictions(model.to(where), files, failed):
            found += part
            if progress is not None:
                progress(len(found) + len(failed), len(files))
    if csv is not None:
        _write_csv(csv, found)
    if json:
        print_json(
            {
                "predictions": [prediction._asdict() for prediction in found],
                "failed": [{"file": file, "reason": reason} for file, reason in failed.items()],
            }
        )
    elif csv is None:
        _print(found)
    for file, reason in failed.items():
        stderr().print(words(f"skipped {file}: {reason}", style="yellow"))
    if csv is not None and not json:
        stderr().print(words(f"{counted(len(found), 'prediction')} written to {csv}"))
    if failed:
        raise typer.Exit(1)


def _files(images: list[Path]) -> list[Path]:
    """The files that are meant, folders opened.

    Raises:
        DataError: something is not there, or a folder has no picture.
    """
    from leaven.data.readers.folder import find_pictures

    files: list[Path] = []
    for path in images:
        if path.is_dir():
            files += [path / name for name in find_pictures(path).pictures]
        elif path.exists():
            files.append(path)
        else:
            raise DataError(
                f"There is no file or folder {path}.",
                "pictures, or folders of pictures",
                "check the path; nothing was predicted",
            )
    return files


def _predictions(
    model: Classifier, files: list[Path], failed: dict[str, str]
) -> Iterator[list[Prediction]]:
    """The predictions of so many files at once; what cannot be read goes to ``failed``."""
    import numpy as np
    import torch

    from leaven.data import MemoryPixels, PictureError, decode
    from leaven.data.files import pool
    from leaven.propose import predict as predict_probs

    channels, height, width = model.spec.shape

    def read(file: Path) -> np.ndarray | PictureError:
        try:
            return decode(file, (height, width), channels)
        except PictureError as error:
            return error

    for start in range(0, len(files), _AT_ONCE):
        part, names, pictures = files[start : start + _AT_ONCE], [], []
        for file, picture in zip(part, pool().map(read, part)):
            if isinstance(picture, PictureError):
                failed[str(file)] = picture.reason
            else:
                names.append(str(file))
                pictures.append(picture)
        if not pictures:
            yield []
            continue
        probs = predict_probs(model, MemoryPixels(torch.from_numpy(np.stack(pictures))))
        confidence, classes = (column.tolist() for column in probs.max(1))
        yield [
            Prediction(name, model.spec.classes[label], sure)
            for name, label, sure in zip(names, classes, confidence)
        ]


def _write_csv(path: Path, found: list[Prediction]) -> None:
    from leaven.atomic import replacing
    from leaven.data.csv_cells import written_cell

    with (
        replacing(path) as beside,
        beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv_format.writer(file)
        writer.writerow(Prediction._fields)
        writer.writerows(
            (written_cell(name), written_cell(label), f"{sure:.6g}") for name, label, sure in found
        )


def _print(found: list[Prediction]) -> None:
    """One line each; the file comes last, so that a long path pushes nothing out of sight."""
    shown = [(percent(sure), safe(label), safe(file)) for file, label, sure in found[:_MOST_SHOWN]]
    width = max((len(label) for _, label, _ in shown), default=0)
    console = stdout()
    for sure, label, file in shown:
        console.print(words(f"{sure:>7}  {label:<{width}}  {file}"))
    if len(found) > _MOST_SHOWN:
        more = len(found) - _MOST_SHOWN
        stderr().print(words(f"and {more} more; --csv FILE or --json gives all", style="dim"))
