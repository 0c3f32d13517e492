"""The labels of a run together with its pictures, as they were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from leaven.data.annotated_listing import AnnotatedListing, Task
from leaven.data.dataset import Data
from leaven.data.open_annotated import find_listing
from leaven.data.writers import Part
from leaven.errors import DataError, RunError
from leaven.job.config import RunConfig
from leaven.labels import ClassLabels, LabelStore
from leaven.labels.pixel_table import PicturePixels, PixelRound
from leaven.labels.pixels import VOID
from leaven.plain import read_json


def labelled_listing(
    run: Path, moved: Path | None = None, *, accepted_only: bool = True
) -> AnnotatedListing:
    """The training pictures of a finished run on pixels, boxes or masks, with its last labels.

    Args:
        run: the run folder.
        moved: where the pictures are now, if they were moved.
        accepted_only: say nothing of pixels that are not accepted, and of pictures without an
            accepted box; the boxes that are not accepted stay in the others.

    Raises:
        RunError: the pictures are gone, or some of them are.
    """
    config = RunConfig.read(run / "config.yaml")
    store = LabelStore(run / "labels")
    source = config.data if moved is None else str(moved)
    try:
        listing = find_listing(
            source, cast("Task", config.task), config.annotations, config.seed, max_unreadable=1
        )
    except DataError as error:
        raise RunError(
            f"The pictures of the run {run} cannot be opened: {error.found}",
            error.expected,
            put_back(run),
        ) from error
    if config.task == "segmentation":
        maps = store.read_pixels()
        said = maps.table["accepted_share"].to_numpy() > 0
        known = torch.from_numpy(said) if accepted_only else torch.ones(len(maps)).bool()
        rows = rows_of_names(listing.names, maps.names, run, source)
        return _chosen(listing, rows, known=known, maps=RoundMaps(maps, accepted_only))
    found = store.read_boxes()
    rows = rows_of_names(listing.names, found.names, run, source)
    labels = found.labels
    if not accepted_only:
        labels = replace(labels, known=labels.known | (labels.counts > 0))
    return _chosen(listing, rows, known=labels.known, boxes=labels)


class RoundMaps:
    """The label maps of a round, ``VOID`` where nothing is believed.

    With ``accepted_only``, ``VOID`` where nothing is accepted, and None where nothing is at all.
    """

    def __init__(self, maps: PixelRound, accepted_only: bool) -> None:
        self._maps, self._accepted_only = maps, accepted_only

    def __len__(self) -> int:
        return len(self._maps)

    def believed(self, index: int, /) -> PicturePixels:
        """What is believed about the pixels of a picture, accepted or not."""
        return self._maps.picture(index)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8] | None:
        picture = self._maps.picture(index)
        if not self._accepted_only:
            return picture.classes.numpy()
        accepted = picture.accepted
        if not bool(accepted.any()):
            return None
        return torch.where(accepted, picture.classes, VOID).to(torch.uint8).numpy()


def _chosen(listing: AnnotatedListing, rows: list[int], **said: Any) -> AnnotatedListing:
    """The pictures ``rows``, all of them for training, of which other things are ``said``."""
    return replace(
        listing,
        sources=[listing.sources[row] for row in rows],
        names=[listing.names[row] for row in rows],
        splits=["train"] * len(rows),
        sizes=listing.sizes[torch.tensor(rows, dtype=torch.int64)],
        **said,
    )


def held_out_parts(
    run: Path, data: Data, items: Sequence[str], classes: Sequence[str]
) -> list[Part]:
    """The pictures with labels of people that a run on classes has not learnt from, by their split.

    What it measured on keeps its split. What else it held out is val; or train, which others may
    learn from, where it held labels out for promises.

    Args:
        run: the run folder.
        data: its data, with nothing held out but what has a split.
        items: the names of what it has learnt from.
        classes: the class names of the run.
    """
    summary = read_json((run / "summary.json").read_text(encoding="utf-8"))
    counts, measured = summary["data"], run / "test.parquet"
    splits: dict[str, str | None] = {}
    if measured.is_file():
        names = pq.read_table(measured, columns=["item"])["item"].to_pylist()
        splits = dict.fromkeys(names, summary["measured_on"])
    splits |= dict.fromkeys(items)
    others = "train" if counts["calibration"] else "val" if counts["val"] else None
    place = torch.tensor([classes.index(name) if name in classes else -1 for name in data.classes])
    parts = []
    for images, own in ((data.train, others), (data.val, "val"), (data.test, "test")):
        if images is None:
            continue
        labels = torch.where(images.by_person, place[images.labels], -1)
        said = [splits.get(name, own) for name in images.names]
        for split in dict.fromkeys(one for one in said if one is not None):
            rows = torch.tensor([one == split for one in said]) & (labels >= 0)
            if bool(rows.any()):
                given = ClassLabels.from_person(labels[rows])
                parts.append(Part(images.subset(rows), given, split))
    return parts


def rows_of_names(found: Sequence[str], names: Sequence[str], run: Path, source: str) -> list[int]:
    """Where the items ``names`` of a run are among the ``found`` ones.

    Raises:
        RunError: some are not there.
    """
    place = {name: row for row, name in enumerate(found)}
    missing = [name for name in names if name not in place]
    if missing:
        raise RunError(
            f"{len(missing)} of {len(names)} pictures of the run {run} are not in {source}, "
            f"the first is {missing[0]}.",
            "the pictures that the run was made with, under the same names",
            put_back(run),
        )
    return [place[name] for name in names]


def put_back(run: Path) -> str:
    """What to do where the pictures of a run are gone."""
    return f"put them back, or say where they are now: leaven export {run} --data PATH"
