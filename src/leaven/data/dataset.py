"""Image sets with their evidence, and the data of one job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Generic, cast

import torch
from torch import Tensor
from typing_extensions import TypeVar

from leaven.data.features import JoinedPixels, NoViews, same
from leaven.data.map_files import FoundMaps
from leaven.data.pairs import PairedPictures
from leaven.data.pixel_maps import PixelMaps
from leaven.data.pixels import MemoryPixels, Pixels
from leaven.data.sources import Sources
from leaven.labels.boxes import BoxLabels
from leaven.labels.captions import Captions

if TYPE_CHECKING:
    from leaven.data.streams import Stream
    from leaven.draws import Draws

View = Callable[[Tensor, "Draws"], Tensor]
"""Makes a randomly changed copy of a batch of pictures, one draw per sample."""


Annotations = Tensor | PixelMaps | BoxLabels | Captions | PairedPictures
"""What can be said of ``n`` pictures: a class each, a class per pixel, boxes and masks, words, or
another picture."""

T = TypeVar("T", bound=Annotations, default=Tensor)


@dataclass(frozen=True)
class ImageSet(Generic[T]):
    """Pictures and what people said about them.

    Attributes:
        pixels: where the pictures are; ``pixels.batch(index)`` gives uint8 (b, C, H, W).
        labels: the evidence, what a person said of each of the n pictures: (n,) int64 classes with
            -1 where nobody has said anything, or ``PixelMaps``, or ``BoxLabels``.
        truth: of the same kind, what is true where that is known for measuring. Never trained on.
        names: n stable identifiers, for example relative paths.
        sources: the n pictures as they were found, encoded and in full size, or None where the
            pixels are all there is. Writers copy them.
        pictures: where ``pixels`` gives feature rows, the pictures behind them, for people to see.
        sizes: (n, 2) int64, height and width as they were found, where labels have places in the
            picture; else None.
        as_found: labels with places as they were given, in the pictures as they were found; None
            where ``labels`` are all there is. What people said goes out as it came in.
        model_confidence: (n,) float32, how sure the model was that gave the label before, as the data
            say; NaN where no model did. None where all labels are of people.
    """

    pixels: Pixels
    labels: T
    truth: T
    names: Sequence[str]
    sources: Sources | None = None
    pictures: Pixels | None = None
    sizes: Tensor | None = None
    model_confidence: Tensor | None = None
    as_found: BoxLabels | FoundMaps | None = None

    def __post_init__(self) -> None:
        columns = (
            self.pixels, self.labels, self.truth, self.names, self.sources, self.pictures,
            self.sizes, self.model_confidence, self.as_found,
        )  # fmt: skip
        sizes = {len(column) for column in columns if column is not None}
        if len(sizes) != 1:
            raise ValueError(
                "pixels, labels, truth, names, sources, pictures, sizes, model_confidence and as_found "
                f"differ in length: {sorted(sizes)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def known(self) -> Tensor:
        """(n,) bool: a person, or a model before, said something of the picture."""
        return is_known(self.labels)

    @property
    def by_model(self) -> Tensor:
        """(n,) bool: a model before said something of the picture."""
        if self.model_confidence is None:
            return torch.zeros_like(self.known)
        return self.known & ~self.model_confidence.isnan()

    @property
    def by_person(self) -> Tensor:
        """(n,) bool: a person said something of the picture."""
        return self.known & ~self.by_model

    @property
    def shown(self) -> Pixels:
        """The pictures themselves, also where features are learnt from."""
        return self.pixels if self.pictures is None else self.pictures

    def subset(self, index: Tensor) -> ImageSet[T]:
        """The items at ``index`` (int64 positions or a bool mask), sharing the pictures."""
        if index.dtype == torch.bool:
            index = index.nonzero().squeeze(1)
        index = index.cpu()
        return ImageSet(
            self.pixels.subset(index),
            rows_of(self.labels, index),
            rows_of(self.truth, index),
            [self.names[i] for i in index.tolist()],
            None if self.sources is None else self.sources.subset(index),
            None if self.pictures is None else self.pictures.subset(index),
            None if self.sizes is None else self.sizes[index],
            None if self.model_confidence is None else self.model_confidence[index],
            None if self.as_found is None else self.as_found.select(index),
        )

    def with_pictures(
        self: ImageSet[Tensor], pictures: Tensor, labels: Tensor, source: str
    ) -> ImageSet[Tensor]:
        """The set with further labelled pictures at its end, for example made ones.

        They are called ``<source>/0``, ``<source>/1``, ..., and their truth is not known. The
        pictures as they were found are not part of it.

        Args:
            pictures: (m, C, H, W) uint8.
            labels: (m,) int64.
            source: where they come from, in a word.
        """
        return ImageSet(
            _joined(self.pixels, pictures),
            torch.cat([self.labels, labels.to(self.labels)]),
            torch.cat([self.truth, torch.full((len(labels),), -1).to(self.truth)]),
            [*self.names, *(f"{source}/{number}" for number in range(len(labels)))],
            model_confidence=None
            if self.model_confidence is None
            else torch.cat([self.model_confidence, torch.ones(len(labels))]),
        )

    def batches(
        self, size: int, *, targets: T | None = None, whole_epochs: bool = False
    ) -> Stream[T]:
        """An endless stream of shuffled batches; see ``Stream``."""
        from leaven.data.streams import Stream

        return Stream(self, size, targets=targets, whole_epochs=whole_epochs)


@dataclass(frozen=True)
class Data(Generic[T]):
    """The data of one job.

    Attributes:
        name: for people.
        classes: the K class names in the order of their indices.
        train: the items to learn from, labelled and unlabelled.
        val: held-out labelled items that choices may be made on, or None.
        test: held-out labelled items that are only measured on, or None.
        calibration: held-out labelled items that promises about labels are made from, in random
            order, or None. Nothing else is done with their labels; they are in no other set.
        flip: whether a mirrored picture still shows the same class.
        notes: what the reader wants people to know (skipped files and the like).
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet[T]
    val: ImageSet[T] | None = None
    test: ImageSet[T] | None = None
    flip: bool = True
    notes: tuple[str, ...] = field(default=())
    calibration: ImageSet[T] | None = None

    @cached_property
    def labelled(self) -> ImageSet[T]:
        """The items of ``train`` that a person labelled."""
        return self.train.subset(self.train.known)

    @cached_property
    def unlabelled(self) -> ImageSet[T]:
        """The items of ``train`` that nobody labelled."""
        return self.train.subset(~self.train.known)

    @property
    def held_out(self) -> ImageSet[T] | None:
        """What curves are measured on: val, or test where there is no val."""
        return self.val if self.val is not None else self.test

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of a picture, (D,) of a feature row."""
        return self.train.pixels.shape

    @property
    def has_views(self) -> bool:
        """Whether these are pictures, which can be changed and still show the same class."""
        return len(self.shape) > 1

    def views(self) -> tuple[View, View]:
        """The weak and the strong view that fit these pictures.

        Weak: mirror (where ``flip``) and shift by up to an eighth of the side. Strong: the weak
        view, two RandAugment operations of magnitude 10 of 30 and a cutout of up to half the side.
        FixMatch's authors draw the magnitude of each operation instead, which is
        ``transforms.Strong(magnitude=None)``; measured beside each other (claim ``drawn_magnitude``),
        that was 1.3 to 2.3 points lower in 600 and 1,000 steps. The weak view of feature rows is the
        rows; their strong view raises a ``ConfigError``.
        """
        if not self.has_views:
            return same, NoViews()
        from leaven.data.transforms import Strong, Weak

        padding = max(1, round(min(self.shape[1:]) / 8))
        return (
            Weak(flip=self.flip, padding=padding),
            Strong(flip=self.flip, padding=padding, cutout=0.5),
        )

    def augmentation(self) -> View:
        """What a classifier is trained on: the strong view of pictures, feature rows as they are."""
        return self.views()[1] if self.has_views else same

    def to(self, device: torch.device) -> Data[T]:
        """The same job with the pictures that are kept in memory on ``device``."""

        def move(images: ImageSet[T] | None) -> ImageSet[T] | None:
            return None if images is None else replace(images, pixels=images.pixels.to(device))

        train = move(self.train)
        assert train is not None
        return replace(self, train=train, val=move(self.val), test=move(self.test))

    def with_train(self, train: ImageSet[T]) -> Data[T]:
        """The same job with other training items."""
        return replace(self, train=train)


def is_known(labels: Annotations) -> Tensor:
    """(n,) bool: something is said of the picture."""
    return labels >= 0 if isinstance(labels, Tensor) else labels.known


def rows_of(labels: T, index: Tensor) -> T:
    """What is said of the pictures at ``index`` (int64 positions)."""
    if isinstance(labels, Tensor):
        return cast("T", labels[index])
    return cast("T", labels.select(index))


def _joined(pixels: Pixels, pictures: Tensor) -> Pixels:
    if isinstance(pixels, MemoryPixels):
        kept = pixels.batch(torch.arange(len(pixels)))
        return MemoryPixels(torch.cat([kept, pictures.to(kept.device)]))
    order = torch.arange(len(pixels) + len(pictures))
    return JoinedPixels([pixels, MemoryPixels(pictures)], order)
