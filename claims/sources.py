"""The data of the claims."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import torch
from PIL import Image
from torch import Tensor

from leaven.data import (
    Data,
    ImageSet,
    MemoryPixels,
    View,
    flip_labels,
    hide_labels,
    long_tail,
    open_data,
)
from leaven.data.open_annotated import keep_labelled, open_boxes, open_maps
from leaven.data.pixel_maps import PixelMaps
from leaven.data.scenes import scenes
from leaven.data.transforms import Strong, Weak
from leaven.draws import Draws
from leaven.labels import BoxLabels

DATA = Path(os.environ.get("LEAVEN_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""The folder of real data sets."""


class MissingData(RuntimeError):
    """A real data set is not on this machine; the claim is skipped."""


def folder(name: str) -> Path:
    """The folder of the data set ``name``."""
    path = DATA / name
    if not path.is_dir():
        raise MissingData(f"{path} is not there; set LEAVEN_DATA to the folder that holds {name!r}")
    return path


def digits(labels_per_class: int, *, val_per_class: int = 0) -> Callable[[int], Data]:
    """A function seed -> the digits, 30 % of them test; val comes out of the unlabelled items."""

    def make(seed: int) -> Data:
        data = open_data("digits", labels_per_class=labels_per_class, seed=seed)
        return with_val(data, val_per_class, seed) if val_per_class else data

    return make


class Light:
    """Shifts by up to a pixel and noise of a tenth of the range: both views of ``light``."""

    def __init__(self) -> None:
        self.shift = Weak(flip=False, padding=1)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        images = self.shift(images, draws)
        noise = draws.normal(len(images), *images.shape[1:]) * 25.5
        return (images + noise).clamp(0, 255).to(torch.uint8)


class _LightData(Data):
    def views(self) -> tuple[View, View]:
        return Light(), Light()


def light(data: Data) -> Data:
    """The same data with light augmentation, for claims that were stated with it."""
    return _as(_LightData, data)


class _DrawnData(Data):
    def views(self) -> tuple[View, View]:
        weak, _ = super().views()
        assert isinstance(weak, Weak)
        return weak, Strong(weak.flip, weak.padding, magnitude=None, cutout=0.5)


def drawn_magnitudes(data: Data) -> Data:
    """The same data whose strong views draw the magnitude of each operation."""
    return _as(_DrawnData, data)


def _as(kind: type[Data], data: Data) -> Data:
    return kind(**{field.name: getattr(data, field.name) for field in fields(data)})


def with_all_labels(data: Data[Any]) -> Data[Any]:
    """Nothing is hidden: what more labels would give within the budget."""
    return data.with_train(replace(data.train, labels=data.train.truth))


def only_labelled(data: Data) -> Data:
    """The data without the unlabelled items."""
    return data.with_train(data.labelled)


def with_val(data: Data, per_class: int, seed: int) -> Data:
    """The data with ``per_class`` hidden items of each class as labelled val items."""
    train = data.train
    hidden = torch.where(train.labels < 0, train.truth, -1)
    chosen = _per_class(hidden, len(data.classes), per_class, seed)
    val = train.subset(chosen)
    keep = torch.ones(len(train), dtype=torch.bool)
    keep[chosen] = False
    return replace(data, train=train.subset(keep), val=replace(val, labels=val.truth))


@cache
def _cifar10(side: int | None) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    data = open_data(folder("cifar10"), test_share=0.0, image_size=side)
    assert data.test is not None
    return data.train, data.test, data.classes


def cifar10(
    labels_per_class: int, *, items: int, test: int = 2000, side: int | None = None
) -> Callable[[int], Data]:
    """A function seed -> CIFAR-10 with ``items`` training pictures, a balanced draw by the seed."""

    def make(seed: int) -> Data:
        train, held_out, classes = _cifar10(side)
        count = len(classes)
        some = train.subset(_per_class(train.truth, count, items // count, seed))
        return Data(
            name="cifar10",
            classes=classes,
            train=hide_labels(some, classes, labels_per_class, seed),
            test=held_out.subset(_per_class(held_out.truth, count, test // count, 0)),
            flip=True,
        )

    return make


@cache
def _cifar10_of_people(column: str, side: int | None) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    data = open_data(
        folder("cifar10"),
        label_column=column,
        truth_column="label",
        test_share=0.0,
        image_size=side,
    )
    assert data.test is not None
    return data.train, data.test, data.classes


def cifar10_of_people(
    column: str, *, items: int, test: int = 2000, side: int | None = None
) -> Callable[[int], Data]:
    """A function seed -> CIFAR-10 with the labels that people gave ``items`` pictures.

    ``column`` says which: ``human_aggre`` (a vote, 9 % wrong), ``human_worse`` (40 % wrong), ... The
    test pictures have the true labels.
    """

    def make(seed: int) -> Data:
        train, held_out, classes = _cifar10_of_people(column, side)
        count = len(classes)
        return Data(
            name="cifar10",
            classes=classes,
            train=train.subset(_per_class(train.truth, count, items // count, seed)),
            test=held_out.subset(_per_class(held_out.truth, count, test // count, 0)),
            flip=True,
        )

    return make


def wrong_digits(rate: float) -> Callable[[int], Data]:
    """A function seed -> the digits, 30 % of them test, a share ``rate`` of the labels wrong.

    A wrong label is any other class, all alike; the true class is not among them.
    """

    def make(seed: int) -> Data:
        data = open_data("digits", seed=seed)
        return data.with_train(flip_labels(data.train, data.classes, rate, seed))

    return make


def long_tailed_digits(
    head: int, imbalance: float, *, unlabelled_head: int, reverse: bool = False
) -> Callable[[int], Data]:
    """A function seed -> the digits as a long tail, 30 % of them test; see ``long_tail``."""

    def make(seed: int) -> Data:
        data = open_data("digits", seed=seed)
        tail = long_tail(
            data.train, data.classes, head, imbalance, seed, unlabelled_head, reverse=reverse
        )
        return data.with_train(tail)

    return make


def long_tailed_cifar10(
    head: int,
    imbalance: float,
    *,
    unlabelled_head: int,
    reverse: bool = False,
    test: int = 2000,
    side: int | None = None,
) -> Callable[[int], Data]:
    """A function seed -> CIFAR-10 as a long tail, with equally many test pictures of each class."""

    def make(seed: int) -> Data:
        train, held_out, classes = _cifar10(side)
        return Data(
            name="cifar10",
            classes=classes,
            train=long_tail(
                train, classes, head, imbalance, seed, unlabelled_head, reverse=reverse
            ),
            test=held_out.subset(_per_class(held_out.truth, len(classes), test // len(classes), 0)),
            flip=True,
        )

    return make


@cache
def _photo_digits(count: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (n, 1, S, S), classes and the written digit (a position in the 1,797) of each."""
    wide = 2 * side
    found = scenes(count, seed=0, size=2 * wide, objects=(1, 1))
    draws = torch.Generator().manual_seed(0)
    middle = torch.from_numpy(found.layout.centres[:, 0])
    middle = middle + (torch.rand(count, 2, generator=draws) * 2 - 1) * wide / 10
    corner = (middle - wide / 2).round().long().clamp(0, wide)
    along = torch.arange(wide)
    rows, columns = (corner[:, 1, None] + along)[:, :, None], (corner[:, :1] + along)[:, None]
    each = torch.arange(count)[:, None, None]
    bright = 150 + 105 * torch.rand(count, 1, 1, generator=draws)
    # Channel by channel: the scenes in float would be gigabytes.
    channels = [found.images[:, c][each, rows, columns].float() for c in range(3)]
    behind = torch.stack(channels).sum(0) / 6
    grey = torch.where(found.instances[each, rows, columns] > 0, bright, behind)
    small = torch.nn.functional.avg_pool2d(grey[:, None], 2)
    noisy = small + 12 * torch.randn(small.shape, generator=draws)
    pictures = noisy.clamp(0, 255).round().to(torch.uint8)
    classes, written = found.layout.classes[:, 0], found.layout.digits[:, 0]
    return pictures, torch.from_numpy(classes), torch.from_numpy(written)


def _photo_digits_of(seed: int, count: int, side: int) -> tuple[ImageSet, ImageSet]:
    """All pictures of 70 % of the written digits to learn from, those of the others to test on."""
    pictures, classes, written = _photo_digits(count, side)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(seed))
    held_out = torch.isin(written, order[: round(0.3 * 1797)])
    names = [f"digit-{number}" for number in range(count)]
    whole = ImageSet(MemoryPixels(pictures), classes, classes, names)
    return whole.subset(~held_out), whole.subset(held_out)


DIGITS = tuple("0123456789")


def photo_digits(
    labels_per_class: int, *, items: int, test: int = 2000, count: int = 20_000, side: int = 16
) -> Callable[[int], Data]:
    """A function seed -> ``items`` pictures of one handwritten digit each, on photos.

    The digits of scikit-learn, turned by up to 25 degrees, of several sizes and not quite in the
    middle, bright on a grey crop of a photo at half its light, with noise: grey pictures of 16x16
    pixels, harder than the digits and easier than CIFAR-10. The ``test`` pictures are of other written
    digits, 30 % of them by the seed. Of ``count`` pictures in all, what is wanted is drawn.
    """

    def make(seed: int) -> Data:
        train, held_out = _photo_digits_of(seed, count, side)
        some = train.subset(_per_class(train.truth, 10, items // 10, seed))
        return Data(
            name="photo-digits",
            classes=DIGITS,
            train=hide_labels(some, DIGITS, labels_per_class, seed),
            test=held_out.subset(_per_class(held_out.truth, 10, test // 10, seed)),
            flip=False,
        )

    return make


def long_tailed_photo_digits(
    head: int,
    imbalance: float,
    *,
    unlabelled_head: int,
    reverse: bool = False,
    test: int = 2000,
    count: int = 40_000,
    side: int = 16,
) -> Callable[[int], Data]:
    """A function seed -> ``photo_digits`` as a long tail; see ``long_tail``."""

    def make(seed: int) -> Data:
        train, held_out = _photo_digits_of(seed, count, side)
        return Data(
            name="photo-digits",
            classes=DIGITS,
            train=long_tail(train, DIGITS, head, imbalance, seed, unlabelled_head, reverse=reverse),
            test=held_out.subset(_per_class(held_out.truth, 10, test // 10, seed)),
            flip=False,
        )

    return make


def _per_class(classes: Tensor, count: int, wanted: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for number in range(count):
        members = (classes == number).nonzero().squeeze(1)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:wanted]])
    return torch.cat(chosen).sort().values


def digit_scenes(
    labelled: int, *, digits: int, size: int, train: int, test: int
) -> Callable[[int], Data[PixelMaps]]:
    """A function seed -> embedded scenes with one or two digits, of which the first keep their maps.

    Only the ``digits`` lowest digits occur. Scenes to learn from and to test on have layouts and
    backgrounds of their own, and share the 1,797 written digits.
    """

    def make(seed: int) -> Data[PixelMaps]:
        found = scenes(5 * (train + test), seed=seed, size=size, objects=(1, 2))
        fits = (found.semantic <= digits).flatten(1).all(1) & ~found.tags(0.0)[:, digits:].any(1)
        index = fits.nonzero()[: train + test, 0]
        if len(index) < train + test:
            raise MissingData(f"{len(index)} scenes of the seed {seed} have the digits wanted")
        truth = PixelMaps.from_tensor(found.semantic[index])
        place = torch.arange(len(index))
        whole = ImageSet(
            MemoryPixels(found.images[index]),
            truth.hidden((place < labelled) | (place >= train)),
            truth,
            [f"scene-{number}" for number in index.tolist()],
        )
        return Data(
            name="scenes",
            classes=found.classes[: digits + 1],
            train=whole.subset(place < train),
            test=whole.subset(place >= train),
            flip=False,
        )

    return make


def camvid(
    labelled: int, *, size: tuple[int, int] = (120, 160), train: int | None = None
) -> Callable[[int], Data[PixelMaps]]:
    """A function seed -> CamVid's street photos at ``size``; ``labelled`` of them keep their maps.

    The val split, one clip, is left out; ``train`` keeps so many training pictures.
    """

    def make(seed: int) -> Data[PixelMaps]:
        data = open_maps(folder("camvid"), labelled=labelled, image_size=size, seed=seed)
        data = replace(data, val=None)
        return data if train is None else data.with_train(_fewer(data.train, train, seed))

    return make


def camvid_dusk(*, size: tuple[int, int] = (120, 160)) -> Callable[[int], Data[PixelMaps]]:
    """A function seed -> CamVid's day and dusk: the training photos of the day (0016E5 and 0006R0)
    are labelled, those of dusk (0001TP) are not; the test photos of dusk are the test set."""

    def make(seed: int) -> Data[PixelMaps]:
        data = open_maps(folder("camvid"), image_size=size, seed=seed)
        assert data.test is not None
        day, dusk = _clip(data.train, "0016E5", "0006R0"), _clip(data.train, "0001TP")
        train = replace(data.train, labels=data.train.labels.hidden(day)).subset(day | dusk)
        test = data.test.subset(_clip(data.test, "0001TP"))
        return replace(data, train=train, val=None, test=test)

    return make


def _clip(images: ImageSet[PixelMaps], *names: str) -> Tensor:
    """(n,) bool: the photo is of one of these clips."""
    return torch.tensor([Path(name).name.startswith(names) for name in images.names])


def nuclei_foreground(
    labelled: int, *, unlabelled: int = 240, test: int = 80, side: int = 96
) -> Callable[[int], Data[PixelMaps]]:
    """A function seed -> squares of the microscope pictures of nuclei, and what is a nucleus there.

    A square of ``side`` pixels lies at a random place of each picture; the pictures of each set are
    drawn by the seed.
    """

    def make(seed: int) -> Data[PixelMaps]:
        images, maps, names = _nuclei(side)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        order = order[: labelled + unlabelled + test]
        known = torch.arange(len(order)) < labelled
        truth = PixelMaps.from_tensor(maps[order])
        whole = ImageSet(
            MemoryPixels(images[order]), truth.hidden(known), truth, [names[i] for i in order]
        )
        first = torch.arange(len(order)) < labelled + unlabelled
        held_out = whole.subset(~first)
        return Data(
            name="nuclei",
            classes=("background", "nucleus"),
            train=whole.subset(first),
            test=replace(held_out, labels=held_out.truth),
        )

    return make


@cache
def _nuclei(side: int) -> tuple[Tensor, Tensor, list[str]]:
    """Squares (n, 3, side, side) uint8, their maps (n, side, side) uint8, and names."""
    images, maps, names = [], [], []
    generator = torch.Generator().manual_seed(0)
    for path in sorted(folder("nuclei").glob("*.parquet")):
        for row in parquet.read_table(path).to_pylist():
            picture = _decoded(row["image"]).convert("RGB")
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
            instances = torch.from_numpy(np.array(_decoded(row["instances"])).astype(np.int32))
            room = torch.tensor(instances.shape) - side
            top, left = (torch.rand(2, generator=generator) * (room + 1)).long().tolist()
            place = (..., slice(top, top + side), slice(left, left + side))
            images.append(pixels[place])
            maps.append((instances[place] > 0).to(torch.uint8))
            names.append(row["name"])
    return torch.stack(images), torch.stack(maps), names


def _decoded(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def bccd(labelled: int, *, size: tuple[int, int] = (120, 160)) -> Callable[[int], Data[BoxLabels]]:
    """A function seed -> the blood cells at ``size``; ``labelled`` photos keep their boxes."""

    def make(seed: int) -> Data[BoxLabels]:
        data = open_boxes(folder("bccd"), labelled=labelled, image_size=size, seed=seed)
        return replace(data, val=None)

    return make


NUCLEUS_SIZES = ("small", "large")
"""The classes of ``nuclei``."""


@cache
def _sized_nuclei(size: tuple[int, int]) -> ImageSet[BoxLabels]:
    data = open_boxes(folder("nuclei"), masks=True, image_size=size, test_share=0.0)
    things = data.train.truth
    assert things.masks is not None
    things = things.keep(things.masks.area() > 0)
    assert things.masks is not None
    area = things.masks.area()
    things = replace(things, classes=(area > area.median()).long())
    return replace(data.train, labels=things, truth=things)


def nuclei(
    labelled: int, *, size: tuple[int, int] = (128, 128)
) -> Callable[[int], Data[BoxLabels]]:
    """A function seed -> the nuclei at ``size`` with their masks; ``labelled`` pictures keep them.

    The 400 pictures are parted by the seed: 80 are the test set. A nucleus is ``large`` when its
    area is above the median of all of them, else ``small``.
    """

    def make(seed: int) -> Data[BoxLabels]:
        whole = _sized_nuclei(size)
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
        train = whole.subset(order[80:].sort().values)
        train = keep_labelled(train, labelled, seed, len(NUCLEUS_SIZES))
        test = whole.subset(order[:80].sort().values)
        return Data("nuclei", NUCLEUS_SIZES, train, test=test)

    return make


def _fewer(images: ImageSet[PixelMaps], count: int, seed: int) -> ImageSet[PixelMaps]:
    """The labelled pictures and some of the others, ``count`` in all."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    first = torch.cat([order[images.known[order]], order[~images.known[order]]])[:count]
    return images.subset(first.sort().values)
