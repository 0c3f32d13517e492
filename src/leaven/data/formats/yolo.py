"""YOLO text files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from leaven.data.annotated_listing import AnnotatedListing
from leaven.data.formats.folder import (
    Written,
    chosen_boxes,
    new_folder,
    per_picture,
    without_suffix,
    write_pictures,
    write_splits,
    written,
)
from leaven.data.formats.outlines import outline
from leaven.data.listing import some
from leaven.labels.boxes import BoxLabels

_DIGITS = 12


def write_yolo(folder: Path, listing: AnnotatedListing, *, every: bool = False) -> Written:
    """``images/``, ``labels/`` and ``data.yaml``, in YOLO's form.

    A line is ``class cx cy width height`` as shares of the picture; with masks, the class and the
    corners of one polygon, which pycocotools fills to the same mask. A picture of which nothing is
    known has no text file, one with nothing in it an empty one. Splits are lists of pictures,
    ``train.txt`` and so on. There is no place for scores, weights and sources, nor for crowds,
    which are left out; a picture of crowds alone has no text file, for it is not empty.

    Args:
        folder: where; it must be empty or not yet there.
        listing: the pictures, with boxes.
        every: write rows that are not accepted, of weight 0, as well.

    Raises:
        DataError: the folder is not empty, or the listing has label maps.
    """
    labels = chosen_boxes(listing, every=every)
    notes, known = [], listing.known.cpu()
    if crowds := int(labels.crowd.sum()):
        notes.append(f"YOLO has no crowds; {crowds} {'was' if crowds == 1 else 'were'} left out.")
        kept = labels.keep(~labels.crowd)
        alone = (labels.counts > 0) & (kept.counts == 0)
        if names := [listing.names[item] for item in alone.nonzero().squeeze(1).tolist()]:
            said = (
                "picture of crowds alone has"
                if len(names) == 1
                else "pictures of crowds alone have"
            )
            notes.append(f"{len(names)} {said} no text file: {some(names)}.")
        labels, known = kept, known & ~alone
    with new_folder(folder) as whole:
        places = write_pictures(listing, whole / "images")
        (whole / "labels").mkdir()
        for item, rows in enumerate(per_picture(labels)):
            if not bool(known[item]):
                continue
            height, width = listing.sizes[item].tolist()
            lines = [_line(labels, row, height, width) for row in rows]
            file = whole / "labels" / f"{without_suffix(places[item])}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        write_splits(listing, [f"./images/{place}" for place in places], whole)
        text = yaml.safe_dump(_settings(listing), allow_unicode=True, sort_keys=False)
        (whole / "data.yaml").write_text(text, "utf-8")
    account = written(listing, folder, len(labels.boxes), notes)
    return replace(account, labelled=int(known.sum()))


def _settings(listing: AnnotatedListing) -> dict[str, object]:
    splits = list(dict.fromkeys(listing.splits))
    plain = splits == ["train"]
    return {
        **{split: "images" if plain else f"{split}.txt" for split in splits},
        "nc": len(listing.classes),
        "names": dict(enumerate(listing.classes)),
    }


def _line(labels: BoxLabels, row: int, height: int, width: int) -> str:
    if labels.masks is not None:
        corners = outline(labels.masks.one(row).numpy()) / np.array([width, height])
        values = corners.reshape(-1).tolist()
    else:
        x1, y1, x2, y2 = labels.boxes[row].tolist()
        values = [
            (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height,
        ]  # fmt: skip
    return " ".join([str(int(labels.classes[row])), *map(_short, values)])


def _short(value: float) -> str:
    return f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".")
