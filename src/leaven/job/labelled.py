"""The labels of a run together with its pictures, as they were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from leaven.data.annotated_listing import AnnotatedListing, Task
from leaven.data.open_annotated import find_listing
from leaven.errors import DataError, RunError
from leaven.job.config import RunConfig
from leaven.labels import LabelStore
from leaven.labels.pixel_table import PicturePixels, PixelRound
from leaven.labels.pixels import VOID


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
