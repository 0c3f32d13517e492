"""More of pix2pix: sizes of patches, photos to label maps, colours of CIFAR-10, edges to digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from claims.harness import Claim, Gain, Level
from claims.pix2pix import AT_ONCE, BATCH, figures, settings, small, streets, translated
from claims.sources import folder
from leaven.data import Data, ImageSet, PairedPictures
from leaven.data.changed_pixels import classes_of_colours
from leaven.data.open_pairs import open_pairs
from leaven.data.paired_maps import photos_with_maps
from leaven.data.pixels import MemoryPixels
from leaven.methods.classification.supervised import Supervised
from leaven.methods.generation.pix2pix import Pix2Pix
from leaven.models.classifier import Classifier
from leaven.quality.pictures import PictureMeter
from leaven.quality.segmentation import SegmentationMeter
from leaven.train import PictureTrainer, Trainer

EPOCHS = 10
COLOURED, COLOURED_TEST, COLOURED_STEPS = 2000, 500, 1000
DIGIT_SIDE, DIGIT_STEPS = 32, 800
CLASSIFIER_STEPS = 300


def patches(layers: int, seed: int) -> dict[str, float]:
    """Label maps to photos with patches of another size."""
    return figures(translated(small(layers=layers), seed, EPOCHS), seed)


@cache
def swapped() -> Data[PairedPictures]:
    """Photos of streets that are to become label maps."""

    def turned(images: ImageSet[PairedPictures] | None) -> ImageSet[PairedPictures]:
        assert images is not None
        wanted = PairedPictures(images.pixels, images.labels.known)
        return ImageSet(images.labels.pixels, wanted, wanted, images.names)

    data = streets()
    return replace(data, train=turned(data.train), val=None, test=turned(data.test))


def made_of(
    method: Pix2Pix, data: Data[PairedPictures], steps: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Made and real pictures of the test pairs, in batches."""
    trainer = PictureTrainer(data, None, settings(seed, steps))
    model = method.fit(trainer.data, trainer).model
    test, generator = data.test, torch.Generator().manual_seed(seed)
    assert test is not None
    parts = torch.arange(len(test)).split(AT_ONCE)
    return [(model.make(test.pixels.batch(i), generator), test.labels[i]) for i in parts]


def label_maps(method: Pix2Pix, seed: int) -> dict[str, float]:
    """How many pixels of made label maps are right."""
    data = swapped()
    assert data.test is not None
    steps, count = EPOCHS * len(data.train) // method.batch, len(data.classes)
    truth = photos_with_maps(Data("", data.classes, data.test), swap=True).train.labels
    meter = SegmentationMeter(count, border=0)
    first = 0
    for made, _ in made_of(method, data, steps, seed):
        rows = torch.arange(first, first + len(made))
        meter.add(classes_of_colours(made, count), truth[rows])
        first += len(made)
    found = meter.metrics()
    return {name: found[name] for name in ("pixel_accuracy", "mean_accuracy", "miou")}


@cache
def greys() -> Data[PairedPictures]:
    """Some pictures of CIFAR-10 without their colours, which are to be coloured."""
    whole = open_pairs(folder("cifar10"), pairs="grey")
    assert whole.test is not None
    generator = torch.Generator().manual_seed(0)

    def some(images: ImageSet[PairedPictures], count: int) -> ImageSet[PairedPictures]:
        chosen = torch.randperm(len(images), generator=generator)[:count].sort().values
        return _kept(images.subset(chosen))

    return replace(
        whole, train=some(whole.train, COLOURED), test=some(whole.test, COLOURED_TEST), val=None
    )


def _kept(images: ImageSet[PairedPictures]) -> ImageSet[PairedPictures]:
    """The same pairs, made once."""
    rows = torch.arange(len(images))
    wanted = replace(images.labels, pixels=MemoryPixels(images.labels[rows]))
    return ImageSet(MemoryPixels(images.pixels.batch(rows)), wanted, wanted, images.names)


def compared(method: Pix2Pix, data: Callable[[], Data], steps: int, seed: int) -> dict[str, float]:
    """The metrics of pictures."""
    meter = PictureMeter()
    for made, real in made_of(method, data(), steps, seed):
        meter.add(made, real)
    return {name: value for name, value in meter.metrics().items() if name != "psnr"}


@cache
def outlines() -> Data[PairedPictures]:
    """Edges of the digits at 32x32."""
    data = open_pairs("digits", pairs="edges", image_size=DIGIT_SIDE)
    assert data.test is not None
    return replace(data, train=_kept(data.train), test=_kept(data.test))


@cache
def digit_reader(seed: int) -> tuple[Classifier, dict[str, int]]:
    """A classifier of real digits that are none of the test pairs, and the class of each by name."""
    from leaven.data import open_data

    whole = open_data("digits", test_share=0.0, image_size=DIGIT_SIDE)
    held_out = outlines().test
    assert held_out is not None
    classes = dict(zip(whole.train.names, whole.train.labels.tolist(), strict=True))
    learned = torch.tensor([name not in set(held_out.names) for name in whole.train.names])
    data = whole.with_train(whole.train.subset(learned))
    trainer = Trainer(data, None, settings(seed, CLASSIFIER_STEPS, "fp32"))
    model = Supervised(batch=32).fit(trainer.data, trainer).model
    return model.eval(), classes


def drawn_digits(method: Pix2Pix, seed: int) -> dict[str, float]:
    """How many made digits a classifier of real ones reads as what their edges are of."""
    data = outlines()
    model, classes = digit_reader(seed)
    assert data.test is not None
    meter, right = PictureMeter(), 0
    truth = torch.tensor([classes[name] for name in data.test.names])
    first = 0
    for made, real in made_of(method, data, DIGIT_STEPS, seed):
        meter.add(made, real)
        with torch.no_grad():
            said = model(made).argmax(1)
        right += int((said == truth[first : first + len(made)]).sum())
        first += len(made)
    found = meter.metrics()
    names = ("l1", "gradient_distance", "colour_overlap")
    return {"accuracy": right / len(truth), **{name: found[name] for name in names}}


def colouring(**changes: object) -> Pix2Pix:
    return small(depth=4, layers=1, batch=8, **changes)


def drawing(**changes: object) -> Pix2Pix:
    return small(width=16, depth=5, layers=1, batch=8, **changes)


CLAIM = Claim(
    method="pix2pix",
    statement="Patches of 16 pixels and more are better than pixels; for label maps of photos L1 alone "
    "is enough; the critic brings colours back that L1 mutes; digits made of their edges are read.",
    setting=f"CamVid as in `pix2pix`, {EPOCHS} epochs of batch {BATCH}; CIFAR-10: {COLOURED} greys to "
    f"colour, {COLOURED_TEST} to test, {COLOURED_STEPS} steps of 8, width 24, patches of 16 pixels; "
    f"digits at {DIGIT_SIDE}x{DIGIT_SIDE}: Canny's edges of 1258, {DIGIT_STEPS} steps of 8, width 16, "
    "read by a network of the real ones; bf16",
    variants={
        "patch 1": partial(patches, 0),
        "patch 16": partial(patches, 1),
        "patch 34": partial(patches, 2),
        "photo to map, L1": partial(label_maps, small(adversarial=0)),
        "photo to map, L1 + cGAN": partial(label_maps, small()),
        "colours, L1": partial(compared, colouring(adversarial=0), greys, COLOURED_STEPS),
        "colours, L1 + cGAN": partial(compared, colouring(), greys, COLOURED_STEPS),
        "edges to digits, L1": partial(drawn_digits, drawing(adversarial=0)),
        "edges to digits, L1 + cGAN": partial(drawn_digits, drawing()),
    },
    expect=(
        Gain("patch 16", "patch 1", 0.0, metric="miou"),
        Gain("patch 34", "patch 1", 0.0, metric="miou"),
        Gain("photo to map, L1", "photo to map, L1 + cGAN", 0.0, metric="miou"),
        Gain("colours, L1 + cGAN", "colours, L1", 0.0, metric="colour_overlap"),
        Level("edges to digits, L1 + cGAN", 90.0),
    ),
    precision="bf16",
    metric="miou",
)
