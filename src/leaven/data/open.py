"""The one way in: whatever holds the pictures becomes the data of a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from leaven.data.calibration import Calibration, take_calibration
from leaven.data.dataset import Data, ImageSet
from leaven.data.embedded import DIGITS, digits
from leaven.data.evidence import hide_labels
from leaven.data.holdout import hold_out
from leaven.data.listing import (
    Columns,
    Listing,
    alike_notes,
    model_note,
    nothing_notes,
    some,
)
from leaven.data.loading import Loaded, Manner, load
from leaven.errors import DataError
from leaven.labels.classes import UNKNOWN
from leaven.plain import brief, counted

_EXPERIMENT_TEST_SHARE = 0.3
_TEST_SHARE = 0.2
_LEAST_KEPT = 20


def open_data(
    source: str | Path | None,
    *,
    labels: Path | None = None,
    label_column: str | None = None,
    truth_column: str | None = None,
    labels_per_class: int | None = None,
    classes: Sequence[str] | int | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    test_share: float | None = None,
    val_share: float = 0.0,
    calibration: Calibration | None = None,
    flip: bool | None = None,
    max_unreadable: float | None = None,
    memory_limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Data:
    """Reads pictures with their labels, decodes them, and holds items out.

    Test items: those of the split ``test`` where there is one. Else, for the digits and with
    ``labels_per_class``, the share ``test_share`` (0.3) of the known items, before any label is
    hidden. Else the share ``test_share`` (0.2) of the labels, where every class keeps at least 20;
    with fewer there is no test set. Labels that a model gave, as the column ``source`` of a table
    says, are learnt from and never drawn. Every choice is stratified by class and depends on
    ``seed`` alone.

    Args:
        source: None or ``"digits"`` for the embedded digits, ``"torchvision:NAME@ROOT"``, or the
            path of an image folder, a Parquet file, a folder of Parquet files, or a Hugging Face
            data set; see the readers.
        labels: a CSV file with the columns file and label, for a folder of pictures.
        label_column: the column of a Parquet or CSV file that holds the labels to learn from,
            which may be wrong; ``label`` when None.
        truth_column: the column that holds the truth, for an experiment with wrong labels: it is
            measured against, and never learnt from. Test items have it for their labels.
        labels_per_class: for an experiment: keep so many labels per class and hide the others,
            which are then the truth to measure against. At least 1.
        classes: where the data need no labels, because a trained model already tells classes apart:
            their names in the order of its outputs, or how many they are. Labels that there are
            must be among the names, and are counted in this order.
        image_size: the side of the pictures, or height and width, at least 8; else their own where
            they have one size up to 96, and 64 where not.
        seed: of all choices, at least 0.
        test_share: the share to hold out as test, in [0, 1); 0 for none.
        val_share: the share of the training labels to hold out as val, in [0, 1), where the data
            have no split ``val``; at least one per class.
        calibration: how many labelled items to hold out for promises, or None; see
            ``take_calibration``.
        flip: whether a mirrored picture shows the same class. When None, true for colour and
            false for grey pictures, which are often signs that change their meaning.
        max_unreadable: the share of unreadable pictures that is skipped, in [0, 1]; when None 1 %,
            and in small data a tenth, up to three pictures, but always one.
        memory_limit: bytes of decoded pictures to keep in memory; half of the free memory when
            None. More are decoded when they are wanted.
        progress: called with the steps done and the steps in all.

    Raises:
        DataError: the data or an argument cannot be used; says what to do.
        MissingExtraError: an optional package is needed.
    """
    check_count("labels_per_class", labels_per_class, 1)
    check_count("memory_limit", memory_limit, 0)
    check_count("seed", seed, 0)
    check_share("test_share", test_share, below=True)
    check_share("val_share", val_share, below=True)
    check_share("max_unreadable", max_unreadable, below=False)

    columns = None
    if label_column is not None or truth_column is not None:
        columns = Columns(label_column or "label", truth_column)
    listing = read_listing(source, labels, columns, need_labels=classes is None)
    if isinstance(classes, int):
        classes = listing.classes or tuple(str(number) for number in range(classes))
    if classes is not None:
        listing = in_classes(listing, tuple(classes))
    _check_classes(listing)
    manner = Manner(max_unreadable, memory_limit, progress)
    loaded = load(listing, image_size=sides(image_size), manner=manner)
    division = _Division(loaded, listing.classes, seed)
    if classes is None:
        _check_labels(division.train, listing.classes)
    if test_share is None and source in (None, DIGITS):
        test_share = _EXPERIMENT_TEST_SHARE
    division.take_test(test_share, experiment=labels_per_class is not None)
    whole = division.train
    if labels_per_class is not None:
        division.train = hide_labels(whole, listing.classes, labels_per_class, seed)
    held_out = None
    if calibration is not None:
        division.train, held_out = take_calibration(whole, division.train, calibration, seed)
    division.take_val(val_share)
    return Data(
        name=listing.name,
        classes=listing.classes,
        train=division.train,
        val=division.val,
        test=division.test,
        flip=division.train.pixels.shape[0] > 1 if flip is None else flip,
        notes=tuple(division.notes),
        calibration=held_out,
    )


class _Division:
    """The items on their way to train, val and test."""

    def __init__(self, loaded: Loaded, classes: tuple[str, ...], seed: int) -> None:
        self.classes, self.seed = classes, seed
        self.notes = [*loaded.notes, *alike_notes(classes), *nothing_notes(classes)]
        by_model = int(loaded.images.by_model.sum())
        if by_model:
            self.notes.append(model_note(by_model))
        self._of_people = " of people" if by_model else ""
        self.train = loaded.images.subset(_of_split(loaded, "train"))
        self.val = self._given(loaded, "val")
        self.test = self._given(loaded, "test")

    def take_test(self, share: float | None, *, experiment: bool) -> None:
        """Holds out the test items, where the data have no split of their own."""
        if self.test is not None:
            if share:
                self.notes.append(f"The data have a test split; the share {share:g} was not used.")
            return
        if share is None and not experiment and not self._enough():
            return
        default = _EXPERIMENT_TEST_SHARE if experiment else _TEST_SHARE
        test = self._hold_out(default if share is None else share, "test")
        if test is not None:
            # What is measured on is to be right, where the truth is known apart from the labels.
            known = torch.where(test.truth >= 0, test.truth, test.labels)
            self.test = replace(test, labels=known)

    def take_val(self, share: float) -> None:
        """Holds out the val items, where the data have no split of their own."""
        if self.val is None:
            self.val = self._hold_out(share, "val")
        elif share:
            self.notes.append(f"The data have a val split; the share {share:g} was not used.")

    def _given(self, loaded: Loaded, split: str) -> ImageSet | None:
        items = _of_split(loaded, split)
        known = items & (loaded.images.labels >= 0)
        unknown = int(items.sum() - known.sum())
        if unknown:
            self.notes.append(
                f"{counted(unknown, 'picture')} of the {split} split without a label "
                f"{'was' if unknown == 1 else 'were'} left out."
            )
        return loaded.images.subset(known) if bool(known.any()) else None

    def _enough(self) -> bool:
        """Whether every class keeps its least number of labels beside a test set."""
        labels = self.train.labels[self.train.by_person]
        counts = torch.bincount(labels, minlength=len(self.classes))
        least = int(counts.argmin())
        needed = round(_LEAST_KEPT / (1 - _TEST_SHARE))
        if int(counts[least]) >= needed:
            return True
        self.notes.append(
            f"No test pictures were held out: the class {brief(self.classes[least])} has "
            f"{counted(int(counts[least]), 'label')}{self._of_people}, and {needed} per class are "
            "needed to spare some."
        )
        return False

    def _hold_out(self, share: float, purpose: str) -> ImageSet | None:
        """Moves a share of the training items that people labelled out of ``train``."""
        if share == 0:
            return None
        known = self.train.by_person.nonzero().squeeze(1)
        _, held = hold_out(self.train.labels[known], share, self.seed, self.classes, purpose)
        held_out = self.train.subset(known[held])
        rest = torch.ones(len(self.train), dtype=torch.bool)
        rest[known[held]] = False
        self.train = self.train.subset(rest)
        return held_out


def read_listing(
    source: str | Path | None, labels: Path | None, columns: Columns | None, *, need_labels: bool
) -> Listing:
    """What lies at ``source``, before anything is decoded; see ``open_data``."""
    from leaven.data.readers import no_columns, read
    from leaven.data.readers.vision import PREFIX, read_vision

    named = isinstance(source, str) and (source == DIGITS or source.startswith(PREFIX))
    if source is not None and not named:
        path = Path(source).expanduser()
        table = None if labels is None else Path(labels)
        return read(path, table, columns, need_labels=need_labels)
    if labels is not None:
        raise DataError(
            f"A labels file ({labels}) was given with {source or DIGITS}, which has labels.",
            "a labels file with a folder of pictures",
            "give the folder, or leave the labels file out.",
        )
    if columns is not None:
        raise no_columns(str(source or DIGITS))
    if source is None or source == DIGITS:
        return digits()
    return read_vision(str(source))


def in_classes(listing: Listing, classes: tuple[str, ...]) -> Listing:
    """The same pictures, with their labels counted in the order of ``classes``."""
    foreign = [name for name in listing.classes if name not in classes]
    if foreign:
        raise DataError(
            f"{listing.name} has labels of the {'class' if len(foreign) == 1 else 'classes'} "
            f"{some([brief(name) for name in foreign])}.",
            "labels of " + some([brief(name) for name in classes], 20),
            "rename the labels as the trained model calls them, or use a model of these classes.",
        )
    # The place after the last stands for unknown: it is what -1 points to.
    place = torch.tensor([*(classes.index(name) for name in listing.classes), UNKNOWN])
    truth = None if listing.truth is None else place[listing.truth]
    return replace(listing, classes=classes, labels=place[listing.labels], truth=truth)


def _of_split(loaded: Loaded, split: str) -> torch.Tensor:
    return torch.tensor([name == split for name in loaded.splits], dtype=torch.bool)


def _check_classes(listing: Listing) -> None:
    if len(listing.classes) >= 2:
        return
    found = f"only the class {brief(listing.classes[0])}" if listing.classes else "no label at all"
    raise DataError(
        f"{listing.name} has {found}.",
        "at least two classes with a label each",
        "add labelled pictures of what else there is to tell apart.",
    )


def _check_labels(train: ImageSet, classes: tuple[str, ...]) -> None:
    counts = torch.bincount(train.labels[train.labels >= 0], minlength=len(classes))
    empty = [name for name, count in zip(classes, counts.tolist()) if count == 0]
    if not empty:
        return
    one = len(empty) == 1
    raise DataError(
        f"The {'class' if one else 'classes'} {some([brief(name) for name in empty], 20)} "
        f"{'has' if one else 'have'} no labelled picture to learn from.",
        "at least one readable labelled picture of each class",
        "label a few pictures of it, or remove the class.",
    )


def sides(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width of an image size as people give it.

    Raises:
        DataError: not whole numbers of 8 or more.
    """
    if image_size is None:
        return None
    both = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    for side in both:
        check_count("image_size", side, 8)
    return both


def check_count(name: str, value: object, least: int) -> None:
    """Refuses what is not None and not a whole number of ``least`` or more."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(
            f"{name} is {value!r}.", f"a whole number, {least} or more", f"correct {name}."
        )


def check_share(name: str, value: object, *, below: bool) -> None:
    """Refuses what is not None and not a number from 0 to 1 (``below``: under 1)."""
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1 or (below and value == 1):  # type: ignore[operator]
        limit = "below 1" if below else "at most 1"
        raise DataError(
            f"{name} is {value!r}.", f"a number of 0 or more, {limit}", f"correct {name}."
        )
