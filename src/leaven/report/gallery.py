"""The pictures that a report shows: ``gallery.parquet``, written while the pictures are at hand."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from leaven.atomic import replacing
from leaven.draws import Draws
from leaven.labels.classes import UNKNOWN, ClassLabels, Source
from leaven.quality.acquisition import UNCERTAINTY, Pool, choose_auto, narrowed

Kind = Literal["accepted", "doubtful", "next"]

LARGEST_SIDE = 160
"""Larger pictures are shrunk to this many pixels, so that a report stays small."""

SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("kind", pa.string()),
        ("png", pa.binary()),
        ("class", pa.string()),
        ("confidence", pa.float32()),
        ("truth", pa.string()),
        ("score", pa.float32()),
    ]
)


def write_gallery(
    path: Path,
    pixels_of: Callable[[Tensor], Tensor],
    names: Sequence[str],
    classes: Sequence[str],
    labels: ClassLabels,
    truth: Tensor | None,
    features: Tensor | None = None,
    count: int = 24,
    covered: Tensor | None = None,
) -> Path:
    """Chooses accepted, doubtful and next-to-label items and writes them with their pictures.

    Items that a person labelled are not shown. Accepted items are spread evenly over classes and
    confidences; where the truth is known, as large a share of them is wrong as of all. Doubtful
    items are those with the smallest margin, not accepted ones first. The next ones are those of
    ``choose_auto``, which needs ``labels.probs``.

    Args:
        path: of ``gallery.parquet``.
        pixels_of: gives the pictures of items (b,) int64 as uint8 (b, C, H, W).
        names: n item ids.
        classes: K class names.
        labels: of the n items.
        truth: (n,) with -1 for unknown, or None.
        features: (n, D) or None, for ``choose_auto``.
        count: pictures of each kind, at most.
        covered: (m, D) of the labelled items, or None where nobody labelled one.

    Raises:
        OSError: the file cannot be written; an older one stays whole.
    """
    labels = labels.cpu()
    truth = torch.full_like(labels.classes, UNKNOWN) if truth is None else truth.cpu()
    guess = _guess(labels)
    nowhere = torch.full((count,), float("nan"))
    following, score = _following(labels, features, covered, count)
    chosen: list[tuple[Kind, Tensor, Tensor]] = [
        ("accepted", choose_accepted(labels, truth, count), nowhere),
        ("doubtful", choose_doubtful(labels, count), nowhere),
        ("next", following, score),
    ]
    rows = [
        {
            "item": names[item],
            "kind": kind,
            "png": png,
            "class": _name(classes, guess[item]),
            "confidence": float(labels.confidence[item]),
            "truth": _name(classes, truth[item]),
            "score": None if worth.isnan() else float(worth),
        }
        for kind, items, scores in chosen
        for item, png, worth in zip(items.tolist(), _pictures(pixels_of, items), scores)
    ]
    with replacing(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial)
    return path


def choose_accepted(labels: ClassLabels, truth: Tensor, count: int) -> Tensor:
    """``count`` accepted items of the model: evenly spaced when sorted by class and confidence.

    Wrong ones (known ``truth`` (n,) that differs) are ``round(count * share)`` of them, with their
    share among all accepted items.
    """
    items = (labels.accepted & (labels.source != int(Source.PERSON))).nonzero().squeeze(1)
    order = torch.argsort(labels.confidence[items], stable=True)
    items = items[order]
    items = items[torch.argsort(labels.classes[items], stable=True)]
    is_wrong = (truth[items] >= 0) & (truth[items] != labels.classes[items])
    wrong = _spaced(items[is_wrong], round(count * float(is_wrong.float().mean().nan_to_num())))
    right = _spaced(items[~is_wrong], count - len(wrong))
    shown = torch.isin(items, torch.cat([wrong, right]))
    return items[shown]


def choose_doubtful(labels: ClassLabels, count: int) -> Tensor:
    """``count`` items of the model, not accepted ones first, then by ``p_first - p_second``.

    Without probabilities the confidence takes the place of the margin.
    """
    margin = labels.confidence
    if labels.probs is not None and labels.probs.shape[1] > 1:
        first, second = labels.probs.topk(2, dim=1).values.unbind(1)
        margin = first - second
    rank = margin + 2.0 * labels.accepted + 4.0 * (labels.source == int(Source.PERSON))
    available = int((labels.source != int(Source.PERSON)).sum())
    return torch.argsort(rank, stable=True)[: min(count, available)]


def _following(
    labels: ClassLabels, features: Tensor | None, covered: Tensor | None, count: int
) -> tuple[Tensor, Tensor]:
    open_items = (labels.source != int(Source.PERSON)).nonzero().squeeze(1)
    if labels.probs is None or len(open_items) == 0:
        return torch.zeros(0, dtype=torch.long), torch.zeros(0)
    probs = labels.probs[open_items]
    pool = Pool(
        {name: unsure(probs) for name, unsure in UNCERTAINTY.items()},
        probs,
        None if features is None else narrowed(features.cpu()[open_items].nan_to_num()),
        None if covered is None else narrowed(covered.cpu().nan_to_num()),
        labelled=0 if covered is None else len(covered),
        classes=probs.shape[1],
    )
    _, (index, score) = choose_auto(pool, count, Draws(0))
    return open_items[index], score


def _guess(labels: ClassLabels) -> Tensor:
    """The believed class, or the likeliest one where nothing is believed."""
    if labels.probs is None:
        return labels.classes
    return torch.where(labels.classes >= 0, labels.classes, labels.probs.argmax(1))


def _spaced(items: Tensor, count: int) -> Tensor:
    if len(items) <= count:
        return items
    return items[((torch.arange(count) + 0.5) * len(items) / count).long()] if count else items[:0]


def _name(classes: Sequence[str], index: Tensor) -> str | None:
    return classes[int(index)] if index >= 0 else None


def _pictures(pixels_of: Callable[[Tensor], Tensor], items: Tensor) -> list[bytes]:
    if len(items) == 0:
        return []
    return [_png(picture) for picture in pixels_of(items).cpu()]


def _png(picture: Tensor) -> bytes:
    """A picture (C, H, W) uint8 as PNG: grey from one channel, else colour from the first three."""
    channels = picture.squeeze(0) if len(picture) == 1 else picture[:3].permute(1, 2, 0)
    image = Image.fromarray(channels.contiguous().numpy())
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()
