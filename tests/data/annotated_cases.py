"""Small annotated listings for the tests of readers and writers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from leaven.data.annotated_listing import AnnotatedListing
from leaven.labels import BoxLabels, Masks, Source

SIZES = ((20, 30), (17, 9), (24, 24), (12, 40))
NAMES = ("a.png", "größe/b 2.png", "c.v1.png", "日本.png")
CLASSES = ("cat", "dög", "bird")


def pictures() -> list[Image.Image]:
    """Colour pictures of ``SIZES``."""
    return [Image.new("RGB", (w, h), (40 * i, 90, 200)) for i, (h, w) in enumerate(SIZES)]


def random_boxes(seed: int, *, masks: bool, whole: bool = False) -> BoxLabels:
    """Labels of four pictures: the second empty, the third unknown, with crowds and scores."""
    generator = np.random.default_rng(seed)
    boxes, dense, counts = [], [], []
    for item, (height, width) in enumerate(SIZES):
        count = 0 if item in (1, 2) else int(generator.integers(1, 4))
        counts.append(count)
        for _ in range(count):
            mask = generator.random((height, width)) < generator.choice([0.05, 0.5, 0.9])
            mask[generator.integers(height), generator.integers(width)] = True
            dense.append(Masks.from_dense(torch.from_numpy(mask)[None]))
            x = np.sort(generator.choice(4 * width + 1, 2, replace=False)) / 4
            y = np.sort(generator.choice(4 * height + 1, 2, replace=False)) / 4
            boxes.append([x[0], y[0], x[1], y[1]])
    rows = len(boxes)
    joined = Masks.joined(dense)
    confidence = torch.from_numpy(generator.random(rows)).float()
    return BoxLabels(
        joined.boxes() if whole else torch.tensor(boxes).float(),
        torch.from_numpy(generator.integers(0, 3, rows)),
        confidence,
        torch.from_numpy(generator.integers(0, 3, rows) / 2).float(),
        torch.from_numpy(generator.choice([int(Source.PERSON), int(Source.MODEL)], rows)),
        torch.tensor(counts),
        torch.tensor([True, True, False, True]),
        torch.from_numpy(generator.random(rows) < 0.3),
        joined if masks else None,
    )


def boxes_listing(labels: BoxLabels, splits: Sequence[str] = ("train",) * 4) -> AnnotatedListing:
    """The four pictures with boxes."""
    return AnnotatedListing(
        "four", pictures(), NAMES, splits, CLASSES, torch.tensor(SIZES), labels.known, boxes=labels
    )


def maps_listing(
    seed: int, classes: tuple[str, ...] = CLASSES, splits: Sequence[str] = ("train",) * 4
) -> AnnotatedListing:
    """The four pictures with label maps; void pixels in some, the third unknown."""
    generator = np.random.default_rng(seed)
    values = [*range(len(classes)), 255]
    maps: list[NDArray[np.uint8] | None] = [
        generator.choice(values, size).astype(np.uint8) for size in SIZES
    ]
    maps[1], maps[2] = np.full(SIZES[1], 255, np.uint8), None
    known = torch.tensor([True, True, False, True])
    return AnnotatedListing(
        "four", pictures(), NAMES, splits, classes, torch.tensor(SIZES), known, maps=maps
    )


def by_name(listing: AnnotatedListing) -> torch.Tensor:
    """The positions of ``NAMES`` in a listing that was read."""
    return torch.tensor([list(listing.names).index(name) for name in NAMES])


def check_pictures(found: AnnotatedListing, wanted: AnnotatedListing) -> None:
    """Names, sizes, splits, classes and what is known are the same."""
    order = by_name(found)
    assert len(found) == len(wanted)
    assert found.classes == wanted.classes
    assert torch.equal(found.sizes[order], wanted.sizes)
    assert torch.equal(found.known[order], wanted.known)
    assert [found.splits[i] for i in order] == list(wanted.splits)
    assert found.notes == ()


def check_boxes(found: AnnotatedListing, wanted: AnnotatedListing, *, believed: bool) -> None:
    """The boxes are the same; with ``believed`` also scores, weights and sources."""
    assert found.boxes is not None and wanted.boxes is not None
    one, other = found.boxes.select(by_name(found)), wanted.boxes
    names = ["boxes", "classes", "counts", "known", "crowd"]
    names += ["confidence", "weight", "source"] if believed else []
    for name in names:
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    if other.masks is not None:
        assert one.masks is not None
        assert list(one.masks.runs) == list(other.masks.runs)


def check_maps(found: AnnotatedListing, wanted: AnnotatedListing) -> None:
    """The label maps are the same."""
    assert found.maps is not None and wanted.maps is not None
    for item, place in enumerate(by_name(found).tolist()):
        one, other = found.maps[place], wanted.maps[item]
        assert (one is None) == (other is None)
        assert one is None or other is None or np.array_equal(one, other)


def save(path: Path, image: Image.Image | NDArray[np.generic]) -> None:
    """Writes a picture, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
