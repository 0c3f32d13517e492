"""The way in for pictures with a class per pixel, boxes or masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, cast

import torch
from torch import Tensor

from leaven.data.annotated_listing import AnnotatedListing, Task
from leaven.data.calibration import Calibration, take_calibration
from leaven.data.dataset import Data, ImageSet, T
from leaven.data.embedded_scenes import LABELLED, SCENES, listed_scenes
from leaven.data.evidence_dense import stratified_pictures
from leaven.data.listing import absent_note, alike_notes
from leaven.data.loading import Loaded, Manner, load_boxes, load_maps
from leaven.data.open import check_count, check_share, sides
from leaven.data.picture_tags import classes_of_maps, with_tags
from leaven.data.pixel_maps import PixelMaps
from leaven.data.readers.annotated import read_annotated
from leaven.data.readers.picture_sizes import unreadable_share
from leaven.errors import DataError
from leaven.labels.boxes import BoxLabels
from leaven.plain import counted

EXPERIMENT_TEST_SHARE = 0.3
TEST_SHARE = 0.2
LEAST_KEPT = 20
"""With fewer labelled pictures nothing is held out unasked."""


def open_maps(source: str | Path | None, **options: Any) -> Data[PixelMaps]:
    """Pictures with a class per pixel; see ``open_annotated`` for the options."""
    data = open_annotated(source, "segmentation", **options)
    return cast("Data[PixelMaps]", data)


def open_boxes(
    source: str | Path | None, *, masks: bool = False, **options: Any
) -> Data[BoxLabels]:
    """Pictures with boxes, or with ``masks`` in them; see ``open_annotated`` for the options."""
    data = open_annotated(source, "instance" if masks else "detection", **options)
    return cast("Data[BoxLabels]", data)


def open_annotated(
    source: str | Path | None,
    task: Task,
    *,
    annotations: Path | None = None,
    tags: str | Path | None = None,
    labelled: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    test_share: float | None = None,
    val_share: float = 0.0,
    calibration: Calibration | None = None,
    flip: bool | None = None,
    manner: Manner | None = None,
) -> Data[PixelMaps] | Data[BoxLabels]:
    """Reads pictures and what is said to be where in them, and holds items out.

    Test items: those of the split ``test`` where there is one. Else, for the scenes and with
    ``labelled``, the share ``test_share`` (0.3) of the labelled pictures, before any label is
    hidden. Else the share ``test_share`` (0.2) of these where at least 20 are left.

    Args:
        source: None or ``"scenes"`` for embedded scenes, or a path; see ``read_annotated``.
        task: what is said of the pictures.
        annotations: a file of annotations for a folder of pictures.
        tags: of segmentation a table of the classes that whole pictures show, or ``"maps"``; see
            ``leaven.data.picture_tags``.
        labelled: for an experiment: keep the labels of so many pictures and hide the others, which
            are then the truth to measure against. Every class is among them where that is possible.
            100 of the scenes where it is None.
        image_size: the side of the pictures, or height and width; else their own where they have
            one size up to 256, and their aspect with a longer side of 256 where not.
        seed: of all choices, at least 0.
        test_share: the share to hold out as test, in [0, 1); 0 for none.
        val_share: the share of the labelled pictures to hold out as val, in [0, 1).
        calibration: how many labelled pictures to hold out for promises, or None; see
            ``take_calibration``.
        flip: whether a mirrored picture shows the same; true when None, but for the scenes.
        manner: how pictures are loaded.

    Raises:
        DataError: the data or an argument cannot be used; says what to do.
    """
    check_count("labelled", labelled, 1)
    check_count("seed", seed, 0)
    check_share("test_share", test_share, below=True)
    check_share("val_share", val_share, below=True)
    size = sides(image_size)
    manner = manner or Manner()
    listing = find_listing(source, task, annotations, seed, manner.max_unreadable)
    embedded = source in (None, SCENES)
    if embedded and labelled is None:
        labelled = LABELLED
    if flip is None:
        flip = not embedded
    experiment = labelled is not None
    if listing.maps is not None:
        maps = load_maps(listing, image_size=size, manner=manner)
        if tags is not None:
            maps = replace(maps, images=with_tags(maps.images, listing.classes, tags))
        division = Division(maps, seed, calibration)
        return _divided(division, listing, labelled, test_share, val_share, flip, experiment)
    boxes = Division(load_boxes(listing, image_size=size, manner=manner), seed, calibration)
    return _divided(boxes, listing, labelled, test_share, val_share, flip, experiment)


def find_listing(
    source: str | Path | None,
    task: Task,
    annotations: Path | None,
    seed: int,
    max_unreadable: float | None,
) -> AnnotatedListing:
    """What lies at ``source``, before anything is decoded; see ``open_annotated``."""
    if source is None or source == SCENES:
        return listed_scenes(task, seed=seed)
    with unreadable_share(max_unreadable):
        return read_annotated(Path(source).expanduser(), task, annotations)


def _divided(
    division: Division[T],
    listing: AnnotatedListing,
    labelled: int | None,
    test_share: float | None,
    val_share: float,
    flip: bool,
    experiment: bool,
) -> Data[T]:
    division.take_test(test_share, experiment=experiment)
    whole = division.train
    if labelled is not None:
        division.train = keep_labelled(
            whole,
            labelled,
            division.seed,
            len(listing.classes),
            held_out=0 if division.test is None else len(division.test),
        )
    division.take_calibration(whole)
    division.take_val(val_share)
    labels = division.train.labels
    tagged = isinstance(labels, PixelMaps) and labels.tags is not None
    if not tagged and not bool(division.train.known.any()):
        raise DataError(
            f"No picture of {listing.name} to learn from is labelled.",
            "at least one labelled picture beside those that are held out",
            "label some pictures, or hold out fewer (test_share, val_share).",
        )
    if isinstance(labels, BoxLabels):
        _check_boxes(labels, listing.name)
        assert listing.boxes is not None
        division.notes += absent_note(
            listing.classes, listing.boxes.classes.bincount(minlength=len(listing.classes)) > 0
        )
    return division.data(listing.name, listing.classes, flip=flip)


def _check_boxes(labels: BoxLabels, name: str) -> None:
    if not bool(labels.crowd.all()):
        return
    crowds = len(labels.boxes)
    but = f" but {counted(crowds, 'crowd')}, which {'is' if crowds == 1 else 'are'} not learnt from"
    raise DataError(
        f"There is no box in the {counted(int(labels.known.sum()), 'labelled picture')} of {name} to "
        f"learn from{but if crowds else ''}.",
        "something in at least one of them"
        + (" that is no crowd (iscrowd, difficult)" if crowds else ""),
        "check that the annotations are those of these pictures; a picture that is listed without "
        "a box counts as looked at and empty.",
    )


class Division(Generic[T]):
    """The items on their way to train, val and test.

    Args:
        loaded: all of them.
        seed: of the choice.
        wanted: what is held out for promises, or None.

    Attributes:
        train, val, test: the items; those that are not there are None.
        notes: what people should know.
    """

    def __init__(self, loaded: Loaded[T], seed: int, wanted: Calibration | None = None) -> None:
        self.seed, self.notes = seed, list(loaded.notes)
        self._wanted = wanted
        self.calibration: ImageSet[T] | None = None
        self._loaded = loaded
        self.train = loaded.images.subset(self._of("train"))
        self.val = self._given("val")
        self.test = self._given("test")

    def take_test(self, share: float | None, *, experiment: bool) -> None:
        """Holds out the test items, where the data have no split of their own."""
        if self.test is not None:
            if share:
                self.notes.append(f"The data have a test split; the share {share:g} was not used.")
            return
        count = int(self.train.known.sum())
        if share is None and not experiment and round(count * (1 - TEST_SHARE)) < LEAST_KEPT:
            self.notes.append(
                f"No test pictures were held out: {count} are labelled, and with fewer than "
                f"{LEAST_KEPT} left there are none to spare."
            )
            return
        default = EXPERIMENT_TEST_SHARE if experiment else TEST_SHARE
        self.test = self._hold_out(default if share is None else share)

    def take_calibration(self, whole: ImageSet[T]) -> None:
        """Holds out what promises are made from; ``whole`` are the items before labels were hidden."""
        if self._wanted is not None:
            self.train, self.calibration = take_calibration(
                whole, self.train, self._wanted, self.seed
            )

    def take_val(self, share: float) -> None:
        """Holds out the val items, where the data have no split of their own."""
        if self.val is None:
            self.val = self._hold_out(share)
        elif share:
            self.notes.append(f"The data have a val split; the share {share:g} was not used.")

    def data(self, name: str, classes: tuple[str, ...], *, flip: bool) -> Data[T]:
        """The data of what was held out and what was not."""
        return Data(
            name=name,
            classes=classes,
            train=self.train,
            val=self.val,
            test=self.test,
            flip=flip,
            notes=(*self.notes, *alike_notes(classes)),
            calibration=self.calibration,
        )

    def _of(self, split: str) -> Tensor:
        return torch.tensor([name == split for name in self._loaded.splits], dtype=torch.bool)

    def _given(self, split: str) -> ImageSet[T] | None:
        items = self._of(split)
        known = items & self._loaded.images.known
        unknown = int(items.sum() - known.sum())
        if unknown:
            self.notes.append(
                f"{counted(unknown, 'picture')} of the {split} split without labels "
                f"{'was' if unknown == 1 else 'were'} left out."
            )
        return self._loaded.images.subset(known) if bool(known.any()) else None

    def _hold_out(self, share: float) -> ImageSet[T] | None:
        """Moves a share of the labelled training items out of ``train``, at least one."""
        known = self.train.known.nonzero().squeeze(1)
        if share == 0 or len(known) < 2:
            return None
        count = min(len(known) - 1, max(1, round(share * len(known))))
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(self.seed))
        taken = torch.zeros(len(self.train), dtype=torch.bool)
        taken[known[order[:count]]] = True
        held_out = self.train.subset(taken)
        self.train = self.train.subset(~taken)
        return held_out


def keep_labelled(
    images: ImageSet[T], count: int, seed: int, num_classes: int, held_out: int = 0
) -> ImageSet[T]:
    """The same pictures, of which ``count`` keep their labels; those of the others are truth alone.

    Rare classes are looked after first: see ``stratified_pictures``.

    Args:
        images: the pictures to learn from.
        count: how many.
        seed: of the choice.
        num_classes: K.
        held_out: the labelled pictures that are test pictures, for errors.

    Raises:
        DataError: fewer pictures than that are labelled.
    """
    known = images.known.nonzero().squeeze(1)
    if len(known) < count:
        beside = f" beside the {held_out} held out for test" if held_out else ""
        raise DataError(
            f"{counted(len(known), 'picture')} {'is' if len(known) == 1 else 'are'} labelled{beside}, "
            f"and {count} are to stay so.",
            f"a number from 1 to {len(known)}",
            "keep fewer.",
        )
    present = classes_present(images, known, num_classes)
    kept = torch.zeros(len(images), dtype=torch.bool)
    kept[known[stratified_pictures(present, count, seed)]] = True
    assert isinstance(images.labels, PixelMaps | BoxLabels)
    return replace(images, labels=cast("T", images.labels.hidden(kept)))


def classes_present(images: ImageSet[T], items: Tensor, num_classes: int) -> Tensor:
    """(len(items), K) bool, which classes occur in the labels of the pictures ``items``."""
    labels = images.labels
    if isinstance(labels, PixelMaps):
        return classes_of_maps(labels, items, num_classes)
    present = torch.zeros(len(items), num_classes + 1, dtype=torch.bool)
    if isinstance(labels, BoxLabels):
        chosen = labels.select(items)
        present[chosen.pictures, chosen.classes] = True
    return present[:, :num_classes]
