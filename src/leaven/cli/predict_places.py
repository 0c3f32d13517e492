"""``leaven predict`` for pixels, boxes and masks."""

from __future__ import annotations

import csv as csv_format
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import typer
from torch import Tensor, nn

from leaven.atomic import replacing
from leaven.cli.output import bar, percent, print_json, safe, stderr, stdout, words
from leaven.data.csv_cells import written_cell
from leaven.data.file_names import FreeNames, safe_part
from leaven.data.files import PictureError, decode, probe
from leaven.data.placement import found_boxes, found_map
from leaven.labels import BoxLabels
from leaven.models import Segmenter
from leaven.report.drawing import draw_boxes, draw_classes, png

if TYPE_CHECKING:
    from leaven.models.detection import Detector

MOST_SHOWN = 100
LEAST_SHARE = 0.005
"""Classes on a smaller share of a picture are not told on the terminal."""


@dataclass(frozen=True)
class Place:
    """One thing, or one class of pixels: ``box`` is x1, y1, x2, y2, ``share`` that of the picture,
    ``mask`` the COCO run lengths of a thing's."""

    file: str
    label: str
    confidence: float
    box: list[float] | None = None
    share: float | None = None
    mask: dict[str, Any] | None = None

    def told(self) -> dict[str, Any]:
        """As JSON: the row, and the mask where there is one."""
        return self.row() if self.mask is None else {**self.row(), "mask": self.mask}

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        start = {"file": self.file, "label": self.label, "confidence": round(self.confidence, 6)}
        if self.box is None:
            return {**start, "share": self.share}
        names = ("x1", "y1", "x2", "y2")
        return {**start, **{n: round(v, 2) for n, v in zip(names, self.box, strict=True)}}


def predict_places(
    model: nn.Module,
    files: list[Path],
    *,
    json: bool,
    csv: Path | None,
    out: Path | None,
    score: float,
) -> None:
    """Tells, writes and draws what ``model`` finds in ``files``; exits with 1 where one of them
    cannot be read."""
    failed: dict[str, str] = {}
    places: list[Place] = []
    with bar("predicting", shown=True) as progress:
        for number, (file, name) in enumerate(zip(files, _names(files), strict=True)):
            try:
                places += _of_file(model, file, None if out is None else out / name, score)
            except PictureError as error:
                failed[str(file)] = error.reason
            if progress is not None:
                progress(number + 1, len(files))
    if csv is not None:
        _write_csv(csv, places, isinstance(model, Segmenter))
    if json:
        told = [{"file": file, "reason": reason} for file, reason in failed.items()]
        print_json({"predictions": [place.told() for place in places], "failed": told})
    elif csv is None:
        _print(places)
    for missed, reason in failed.items():
        stderr().print(words(f"skipped {missed}: {reason}", style="yellow"))
    if out is not None:
        stderr().print(words(f"{len(files) - len(failed)} pictures drawn in {out}"))
    if failed:
        raise typer.Exit(1)


def _names(files: list[Path]) -> list[str]:
    """A name for the drawing of each file: its own without the ending, numbered where taken."""
    free = FreeNames()
    return [free.take(safe_part(file.stem)) for file in files]


def _ending(path: Path, *words: str) -> Path:
    """``path`` as a PNG file, with ``words`` in front of the ending."""
    return path.with_name(".".join([path.name, *words, "png"]))


def _of_file(model: nn.Module, file: Path, out: Path | None, score: float) -> Iterator[Place]:
    spec: Any = model.spec
    channels, height, width = spec.shape
    picture = torch.from_numpy(decode(file, (height, width), channels, whole=True))
    info = probe(file)
    size = (info.height, info.width)
    whole = torch.from_numpy(decode(file, None, channels)) if out is not None else None
    if isinstance(model, Segmenter):
        return _pixels(model, file, picture, size, whole, out)
    return _things(model, file, picture, size, whole, out, score)  # type: ignore[arg-type]


def _pixels(
    model: Segmenter,
    file: Path,
    picture: Tensor,
    size: tuple[int, int],
    whole: Tensor | None,
    out: Path | None,
) -> Iterator[Place]:
    from leaven.propose import predict_maps

    probs = next(predict_maps(model, _One(picture))).cpu()[0]
    confidence, classes = (found_map(values, size) for values in probs.max(0))
    classes = classes.to(torch.uint8)
    if out is not None and whole is not None:
        _write(_ending(out, "drawn"), png(draw_classes(whole, classes, model.num_classes)))
        _write_mask(_ending(out), classes)
    for label in classes.unique().tolist():
        here = classes == label
        sure, share = float(confidence[here].mean()), float(here.float().mean())
        yield Place(str(file), model.classes[label], sure, share=round(share, 6))


def _things(
    model: Detector,
    file: Path,
    picture: Tensor,
    size: tuple[int, int],
    whole: Tensor | None,
    out: Path | None,
    score: float,
) -> Iterator[Place]:
    found = model.detect(picture[None].to(next(model.parameters()).device), score=score)
    height, width = picture.shape[1:]
    things: BoxLabels = found_boxes(found, torch.tensor([size]), (height, width))
    if out is not None and whole is not None:
        _write(_ending(out, "drawn"), png(draw_boxes(whole, things, model.classes)))
        if things.masks is not None:
            _write_instances(_ending(out), things, size)
    masks: list[dict[str, Any] | None] = [None] * len(things.boxes)
    if things.masks is not None:
        masks = [{**one, "counts": one["counts"].decode()} for one in things.masks.coco()]
    rows = zip(
        things.classes.tolist(),
        things.confidence.tolist(),
        things.boxes.tolist(),
        masks,
        strict=True,
    )
    for label, sure, box, mask in rows:
        yield Place(str(file), model.classes[label], sure, box=box, mask=mask)


class _One:
    """One picture as a set of pictures."""

    def __init__(self, picture: Tensor) -> None:
        self.picture = picture

    def __len__(self) -> int:
        return 1

    def batch(self, index: Tensor) -> Tensor:
        return self.picture[None]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.write_bytes(content)


def _write_mask(path: Path, classes: Tensor) -> None:
    from PIL import Image

    from leaven.data.formats.masks import palette

    image = Image.fromarray(classes.numpy(), mode="P")
    image.putpalette(palette().tobytes())
    with replacing(path) as beside:
        image.save(beside, "PNG")


def _write_instances(path: Path, things: BoxLabels, size: tuple[int, int]) -> None:
    """A PNG of 16 bits: 0 is nothing, n the n-th thing that was told of the picture."""
    from PIL import Image

    from leaven.data.formats.masks import painted_numbers

    painted, _ = painted_numbers(things, range(len(things.boxes)), list(size), path.name)
    with replacing(path) as beside:
        Image.fromarray(painted).save(beside, "PNG")


def _write_csv(path: Path, places: list[Place], pixels: bool) -> None:
    last = ("share",) if pixels else ("x1", "y1", "x2", "y2")
    with (
        replacing(path) as beside,
        beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv_format.DictWriter(file, ("file", "label", "confidence", *last))
        writer.writeheader()
        for place in places:
            texts = {"file": written_cell(place.file), "label": written_cell(place.label)}
            writer.writerow({**place.row(), **texts})


def _print(places: list[Place]) -> None:
    told = [place for place in places if place.share is None or place.share >= LEAST_SHARE]
    width = max((len(safe(place.label)) for place in told[:MOST_SHOWN]), default=0)
    console = stdout()
    for place in told[:MOST_SHOWN]:
        where = (
            f"{percent(place.share)} of the picture"
            if place.box is None
            else ", ".join(f"{value:.0f}" for value in place.box)
        )
        label = f"{safe(place.label):<{width}}"
        console.print(
            words(f"{percent(place.confidence):>7}  {label}  {where}  {safe(place.file)}")
        )
    if len(told) > MOST_SHOWN:
        more = len(told) - MOST_SHOWN
        stderr().print(words(f"and {more} more; --csv FILE or --json gives all", style="dim"))
