"""The pictures that a report on pixels or boxes shows: ``gallery.parquet``, drawn and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from leaven.atomic import replacing
from leaven.data.pixel_maps import PixelMaps
from leaven.labels.boxes import BoxLabels
from leaven.labels.classes import Source
from leaven.labels.pixels import VOID, PixelLabels
from leaven.quality.acquisition import directions, worth_labelling
from leaven.quality.detection import match_boxes
from leaven.report.drawing import (
    draw_boxes,
    draw_classes,
    draw_doubt,
    draw_errors,
    draw_picture,
    png,
)

Kind = Literal["accepted", "doubtful", "wrong", "next"]
Panel = tuple[str, Image.Image]

CHUNK = 64
"""Label maps that are looked at together."""

MOST_BOXES = 60
"""Boxes that are drawn on one picture, the surest ones."""

SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("kind", pa.string()),
        (
            "panels",
            pa.list_(pa.struct([("name", pa.string()), ("png", pa.binary())])),
        ),
        ("confidence", pa.float32()),
        ("accepted", pa.float32()),
        ("right", pa.float32()),
        ("missed", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Figures:
    """What is known of each of n pictures; NaN where nothing is.

    Attributes:
        shown: (n,) bool, the picture is labelled by the model.
        confidence: (n,) mean confidence of what is accepted.
        accepted: (n,) the share of accepted pixels, or the number of accepted boxes.
        right: (n,) the share of it that is right.
        missed: (n,) true things that no accepted box is for; -1 where that is not asked.
        doubt: (n,) the larger, the more doubtful.
        error: (n,) the larger, the more is wrong; 0 for nothing.
    """

    shown: Tensor
    confidence: Tensor
    accepted: Tensor
    right: Tensor
    missed: Tensor
    doubt: Tensor
    error: Tensor


def write_pixel_gallery(
    path: Path,
    pictures_of: Callable[[Tensor], Tensor],
    names: Sequence[str],
    classes: Sequence[str],
    labels: PixelLabels,
    truth: PixelMaps | None,
    count: int = 8,
    features: Tensor | None = None,
) -> Path:
    """Chooses pictures, draws their label maps side by side with the truth, and writes them.

    Pictures that a person labelled are not shown. Accepted ones are evenly spaced by the mean
    confidence of their accepted pixels; doubtful ones have the least mean confidence of all pixels;
    wrong ones, where the truth is known, the most accepted pixels that are wrong; the next ones to
    label are doubtful, resemble many others, and not each other (``worth_labelling``).

    Args:
        path: of ``gallery.parquet``.
        pictures_of: gives the pictures at (b,) int64 as uint8 (b, C, H, W).
        names: n item ids.
        classes: K class names.
        labels: of the n pictures, in their size.
        truth: of the n pictures, or None.
        count: pictures of each kind, at most.
        features: (n, D) of the pictures; without them none is named to be labelled next.

    Raises:
        OSError: the file cannot be written; an older one stays whole.
    """
    figures = pixel_figures(labels, truth)

    def panels(kind: Kind, item: int, picture: Tensor) -> Iterator[Panel]:
        index = torch.tensor([item])
        one = labels.select(index).cpu()
        high, wide = picture.shape[1:] if one.extents is None else one.extents[0].tolist()

        def cut(values: Tensor) -> Tensor:
            return values[..., :high, :wide]  # What lies beside the picture is not shown.

        picture, believed, accepted = cut(picture), cut(one.classes[0]), cut(one.accepted[0])
        actual = None if truth is None else cut(truth.stored(index)[0].cpu())
        yield "picture", draw_picture(picture)
        yield "labels", draw_classes(picture, believed, len(classes), accepted)
        if kind in ("doubtful", "next"):
            yield "doubt", draw_doubt(picture, cut(one.confidence[0]))
        if actual is not None and bool((actual != VOID).any()):
            yield "truth", draw_classes(picture, actual, len(classes))
            if kind == "wrong":
                firm = torch.where(accepted, believed, VOID)
                yield "where wrong", draw_errors(picture, firm, actual)

    return _write(path, pictures_of, names, figures, panels, count, features)


def write_box_gallery(
    path: Path,
    pictures_of: Callable[[Tensor], Tensor],
    names: Sequence[str],
    classes: Sequence[str],
    labels: BoxLabels,
    truth: BoxLabels | None,
    count: int = 8,
    features: Tensor | None = None,
    extents: Tensor | None = None,
) -> Path:
    """Chooses pictures, draws their boxes and masks side by side with the truth, and writes them.

    Pictures with a row of a person are not shown. Accepted ones are evenly spaced by the mean
    confidence of their accepted boxes; doubtful ones have the largest ``sum_i c_i (1 - c_i)``, the
    variance of the number of right boxes; wrong ones, where the truth is known, the most accepted
    boxes without a true thing of IoU 0.5 and true things without such a box; the next ones to label
    are doubtful, resemble many others, and not each other (``worth_labelling``).

    Args:
        path: of ``gallery.parquet``.
        pictures_of: gives the pictures at (b,) int64 as uint8 (b, C, H, W).
        names: n item ids.
        classes: K class names.
        labels: of the n pictures, boxes in the pixels that ``pictures_of`` gives.
        truth: of the n pictures, or None.
        count: pictures of each kind, at most.
        features: (n, D) of the pictures; without them none is named to be labelled next.
        extents: (n, 2) height and width of the part in the upper left that shows each picture; None
            where all of it does.

    Raises:
        OSError: the file cannot be written; an older one stays whole.
    """
    figures = box_figures(labels, truth, len(classes))

    def panels(kind: Kind, item: int, picture: Tensor) -> Iterator[Panel]:
        index = torch.tensor([item])
        one = labels.select(index).cpu()
        if kind not in ("doubtful", "next"):
            one = one.keep(one.accepted)
        surest = one.confidence.argsort(descending=True, stable=True)[:MOST_BOXES]
        one = one.keep(torch.zeros(len(one.boxes)).bool().index_fill(0, surest, True))
        if extents is not None:
            high, wide = extents[item].tolist()
            picture = picture[:, :high, :wide]
        yield "picture", draw_picture(picture)
        yield "labels", draw_boxes(picture, one, classes)
        if truth is not None and bool(truth.known[item]):
            yield "truth", draw_boxes(picture, truth.select(index), classes)

    return _write(path, pictures_of, names, figures, panels, count, features)


def pixel_figures(labels: PixelLabels, truth: PixelMaps | None) -> Figures:
    """The figures of label maps, a chunk of pictures at a time."""
    parts = []
    for index in torch.arange(len(labels)).split(CHUNK):
        some = labels.select(index).cpu()
        accepted = some.accepted.flatten(1)
        confidence = some.confidence.float().flatten(1)
        part = some.shares
        sure = (confidence * accepted).sum(1) / accepted.sum(1)
        right, error = torch.full_like(part, torch.nan), torch.zeros_like(part)
        if truth is not None:
            actual = truth.stored(index).cpu().flatten(1)
            judged = accepted & (actual != VOID)
            hit = judged & (actual == some.classes.flatten(1))
            right = hit.sum(1) / judged.sum(1)
            error = (judged & ~hit).sum(1) / some.areas
        parts.append(torch.stack([sure, part, right, some.doubt, error]))
    sure, part, right, doubt, error = torch.cat([torch.zeros(5, 0), *parts], 1)
    shown = labels.source.cpu() != int(Source.PERSON)
    return Figures(shown, sure, part, right, torch.full_like(part, -1), doubt, error)


def box_figures(labels: BoxLabels, truth: BoxLabels | None, num_classes: int) -> Figures:
    """The figures of boxes; they are right when matched at IoU 0.5."""
    labels, size = labels.cpu(), len(labels)
    confidence, accepted = labels.confidence.double(), labels.accepted

    def total(values: Tensor, pictures: Tensor) -> Tensor:
        # Of no rows at all bincount gives whole numbers, whatever the weights are.
        return torch.bincount(pictures, values.double(), minlength=size).double()

    number = total(accepted, labels.pictures)
    sure = total(confidence * accepted, labels.pictures) / number
    doubt = total(confidence * (1 - confidence), labels.pictures)
    person = total(labels.source == int(Source.PERSON), labels.pictures) > 0
    right, missed = torch.full_like(number, torch.nan), torch.full_like(number, -1)
    error = torch.zeros_like(number)
    if truth is not None:
        firm = labels.keep(accepted)
        matches = match_boxes(firm, truth, num_classes)
        hit, judged = (total(rows, firm.pictures) for rows in (matches.right, matches.judged))
        known, right = truth.known.cpu(), hit / judged
        missed = total(matches.missed, truth.cpu().pictures)
        error = judged - hit + missed
        missed = torch.where(known, missed, -1)
    return Figures(~person, sure, number, right, missed, doubt, error)


def choose(figures: Figures, kind: Kind, count: int) -> Tensor:
    """At most ``count`` pictures of a kind."""
    if kind == "accepted":
        items = (figures.shown & (figures.accepted > 0)).nonzero().squeeze(1)
        items = items[figures.confidence[items].argsort(stable=True)]
        shown = min(count, len(items))
        return items[((torch.arange(shown) + 0.5) * len(items) / max(shown, 1)).long()]
    value = figures.doubt if kind == "doubtful" else figures.error
    value = torch.where(figures.shown, value, 0)
    order = value.argsort(descending=True, stable=True)[:count]
    return order[value[order] > 0]


def choose_next(figures: Figures, features: Tensor | None, count: int) -> Tensor:
    """At most ``count`` pictures to label next, in order of worth; none without features."""
    items = (figures.shown & (figures.doubt > 0)).nonzero().squeeze(1)
    if features is None or len(items) == 0:
        return items[:0]
    unit = directions(features[items], features[items])
    return items[worth_labelling(figures.doubt[items].float(), unit, count)[0]]


def _write(
    path: Path,
    pictures_of: Callable[[Tensor], Tensor],
    names: Sequence[str],
    figures: Figures,
    panels: Callable[[Kind, int, Tensor], Iterator[Panel]],
    count: int,
    features: Tensor | None,
) -> Path:
    kinds: tuple[Kind, ...] = ("accepted", "doubtful", "wrong", "next")
    rows: list[dict[str, Any]] = []
    for kind in kinds:
        following = kind == "next"
        chosen = (
            choose_next(figures, features, count) if following else choose(figures, kind, count)
        )
        for number in chosen:
            item, picture = int(number), pictures_of(number[None])[0]
            missed = int(figures.missed[item])
            rows.append(
                {
                    "item": names[item],
                    "kind": kind,
                    "panels": [
                        {"name": name, "png": png(image)}
                        for name, image in panels(kind, item, picture)
                    ],
                    "confidence": _number(figures.confidence[item]),
                    "accepted": float(figures.accepted[item]),
                    "right": _number(figures.right[item]),
                    "missed": None if missed < 0 else missed,
                }
            )
    with replacing(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial)
    return path


def _number(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)
