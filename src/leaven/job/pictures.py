"""The pictures behind the items of a run, encoded until somebody wants to see them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from leaven.data.annotated_listing import TASKS
from leaven.data.listing import Columns
from leaven.data.open import read_listing
from leaven.data.open_annotated import find_listing
from leaven.data.sources import Source, SourceList
from leaven.errors import DataError, RunError
from leaven.job.config import RunConfig
from leaven.labels.classes import UNKNOWN


@dataclass(frozen=True)
class RunPictures:
    """Where the pictures of ``n`` items are, and the classes they came with.

    Attributes:
        sources: of all pictures of the data.
        rows: (n) the place of each item among them, -1 where its picture is gone.
        given: (n) class names as they were found, None where nothing is said; None where the run
            has pixels or boxes, or hid labels, so that what was found is not what was given.
    """

    sources: SourceList
    rows: list[int]
    given: list[str | None] | None

    @property
    def missing(self) -> int:
        """How many items have no picture any more."""
        return sum(row < 0 for row in self.rows)

    def __getitem__(self, item: int) -> Source:
        """The picture of an item as it was found; None where it is gone."""
        row = self.rows[item]
        return None if row < 0 else self.sources[row]


def run_pictures(run: Path, names: list[str], moved: Path | None = None) -> RunPictures:
    """The pictures of the items ``names`` of a run, from where it read them or from ``moved``.

    Nothing is decoded, and no header is read.

    Raises:
        RunError: the data are gone, or hold none of the pictures.
    """
    config = RunConfig.read(run / "config.yaml").settled()
    source = config.data if moved is None else str(moved)
    labels: Tensor | None = None
    try:
        if config.task in TASKS:
            places = find_listing(source, config.task, config.annotations, config.seed, 1)
            found, sources, classes = places.names, places.sources, places.classes
        else:
            columns = _columns(config)
            listing = read_listing(source, config.labels, columns, need_labels=False)
            found, sources, classes = listing.names, listing.sources, listing.classes
            labels = listing.labels if config.labels_per_class is None else None
    except DataError as error:
        raise RunError(
            f"The pictures of the run {run} cannot be opened: {error.found}",
            error.expected,
            "put them back, or say where they are now with --data PATH",
        ) from error
    place = {name: row for row, name in enumerate(found)}
    rows = [place.get(name, -1) for name in names]
    if names and max(rows) < 0:
        raise RunError(
            f"None of the {len(names)} pictures of the run {run} is in {source}; the first is "
            f"{names[0]}.",
            "the pictures that the run was made with, under the same names",
            "put them back, or say where they are now with --data PATH",
        )
    given = None if labels is None else _given(labels.tolist(), rows, classes)
    return RunPictures(sources, rows, given)


def _columns(config: RunConfig) -> Columns | None:
    if config.label_column is None and config.truth_column is None:
        return None
    return Columns(config.label_column or "label", config.truth_column)


def _given(labels: list[int], rows: list[int], classes: tuple[str, ...]) -> list[str | None]:
    known = [UNKNOWN if row < 0 else labels[row] for row in rows]
    return [None if label < 0 else classes[label] for label in known]
