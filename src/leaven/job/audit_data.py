"""What an audit looks at: all pictures of a data set with what was said of them, and their splits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leaven.data.annotated_listing import TASKS, AnnotatedListing
from leaven.data.dataset import Data, ImageSet
from leaven.data.listing import Columns, Listing
from leaven.data.loading import Manner, load, load_boxes, load_maps
from leaven.data.open import read_listing, sides
from leaven.data.open_annotated import find_listing
from leaven.data.readers.picture_sizes import tolerating
from leaven.errors import DataError, RunError
from leaven.job.config import RunConfig
from leaven.job.tasks import opened
from leaven.labels.boxes import BoxLabels
from leaven.methods import find_method
from leaven.models import load_model

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Audited:
    """A data set as it is audited.

    Attributes:
        name, classes, notes: as the reader found them.
        listing: all n pictures, readable or not.
        splits: n, of each of them: "train", "val" or "test"; with a run, the splits of the run.
        images: the usable pictures with what was said of them, None where there is none.
        rows: (r,) int64, which of the listing these are.
        seen: (n,) bool, a run has learnt from what was said of the picture; all False without one.
        model: of the run, or None.
        sound: (n,) bool, the picture is judged, compared and counted.
        unlisted: name and reason of pictures that the reader could not read, which are in no list.
    """

    name: str
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    listing: Listing | AnnotatedListing
    splits: tuple[str, ...]
    images: ImageSet[Any] | None
    rows: Tensor
    seen: Tensor
    sound: Tensor
    model: Any = None
    unlisted: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> list[str]:
        """Of all n pictures."""
        return list(self.listing.names)

    def keeping(self, sound: Tensor) -> Audited:
        """The same, where only the pictures that are ``sound``, (n,) bool, count."""
        kept = sound[self.rows]
        images = self.images.subset(kept) if self.images is not None and bool(kept.any()) else None
        return replace(self, images=images, rows=self.rows[kept], sound=sound)

    @property
    def flip(self) -> bool:
        """Whether a mirrored picture shows the same: of pictures in colour, and where labels have
        places."""
        if self.images is None or isinstance(self.listing, AnnotatedListing):
            return True
        return self.images.pixels.shape[0] > 1


def read_audited(config: RunConfig, run: Path | None, progress: Progress | None) -> Audited:
    """The pictures and labels that ``config`` names, and the splits and the model of a ``run``.

    Pictures that cannot be read are left out of ``images`` and stop nothing.

    Raises:
        DataError: there are no pictures or the labels cannot be read; says what to do.
        RunError: ``run`` is not finished.
    """
    with tolerating() as unreadable:
        listing = _listing(config)
    size = sides(config.shape)
    model: Any = None
    if run is not None:
        model = load_model(run / "model", nn.Module)
        size = (model.spec.shape[1], model.spec.shape[2])
        if tuple(model.spec.classes) != tuple(listing.classes):
            raise RunError(
                f"The run {run} tells {', '.join(model.spec.classes)} apart; the classes of the data "
                f"are {', '.join(listing.classes)}.",
                "the data that the run was made with",
                "give that data, or leave --run out",
            )
    manner = Manner(max_unreadable=1.0, progress=progress)
    images, rows, notes = _loaded(listing, size, manner)
    if model is not None and images is not None and model.spec.shape[0] != images.pixels.shape[0]:
        raise RunError(
            f"The pictures have {images.pixels.shape[0]} channels; the run {run} takes "
            f"{model.spec.shape[0]}.",
            "the data that the run was made with",
            "give that data, or leave --run out",
        )
    splits, seen = tuple(listing.splits), torch.zeros(len(listing.names), dtype=torch.bool)
    if run is not None:
        splits, seen = _of_run(config, listing)
    unlisted = tuple(dict.fromkeys((error.name, error.reason) for error in unreadable))
    sound = torch.ones(len(listing.names), dtype=torch.bool)
    return Audited(
        listing.name,
        listing.classes,
        notes,
        listing,
        splits,
        images,
        rows,
        seen,
        sound,
        model,
        unlisted,
    )


def _listing(config: RunConfig) -> Listing | AnnotatedListing:
    if config.task in TASKS:
        return find_listing(config.data, config.task, config.annotations, config.seed, 1)
    columns = None
    if config.label_column is not None or config.truth_column is not None:
        columns = Columns(config.label_column or "label", config.truth_column)
    return read_listing(config.data, config.labels, columns, need_labels=False)


def _loaded(
    listing: Listing | AnnotatedListing, size: tuple[int, int] | None, manner: Manner
) -> tuple[ImageSet[Any] | None, Tensor, tuple[str, ...]]:
    """The readable pictures, which they are, and what people should know."""
    nothing = torch.zeros(0, dtype=torch.int64)
    try:
        loaded: Any
        if isinstance(listing, Listing):
            loaded = load(listing, image_size=size, manner=manner)
        elif listing.maps is not None:
            loaded = load_maps(listing, image_size=size, manner=manner)
        else:
            loaded = load_boxes(listing, image_size=size, manner=manner)
    except DataError:
        if not len(listing.names) or _any_readable(listing):
            raise
        return None, nothing, listing.notes
    place = {name: row for row, name in enumerate(listing.names)}
    rows = torch.tensor([place[name] for name in loaded.images.names], dtype=torch.int64)
    return _without_masks(loaded.images), rows, loaded.notes


def _without_masks(images: ImageSet[Any]) -> ImageSet[Any]:
    """Masks of things are audited by the boxes around them."""
    labels = images.labels
    if not isinstance(labels, BoxLabels) or labels.masks is None:
        return images
    boxes = replace(labels, masks=None)
    return replace(images, labels=boxes, truth=boxes)


def _any_readable(listing: Listing | AnnotatedListing) -> bool:
    from leaven.data.files import PictureError, decode

    for number, name in enumerate(listing.names):
        try:
            decode(listing.sources[number], 8, 3, name)
        except PictureError:
            continue
        return True
    return False


def _of_run(
    config: RunConfig, listing: Listing | AnnotatedListing
) -> tuple[tuple[str, ...], Tensor]:
    """The splits of a run, and which labels it has learnt from."""
    method = find_method(config.method, config.task)
    data: Data[Any] = opened(config, method.configured(config.set), None)
    place = {name: row for row, name in enumerate(listing.names)}
    splits, seen = list(listing.splits), torch.zeros(len(listing.names), dtype=torch.bool)
    for split, part in (("train", data.train), ("val", data.val), ("test", data.test)):
        for name in [] if part is None else part.names:
            splits[place[name]] = split
    for name in data.labelled.names:
        seen[place[name]] = True
    return tuple(splits), seen
