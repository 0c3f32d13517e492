"""Pictures of several pictures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.labels import BoxLabels
from leaven.synthesize import mosaic


def scenes(count: int = 6, height: int = 48, width: int = 72) -> tuple[Tensor, BoxLabels]:
    """Grey pictures, each with one bright rectangle of its own brightness."""
    images = torch.full((count, 3, height, width), 20, dtype=torch.uint8)
    boxes = []
    for number, picture in enumerate(images):
        left, top = 6 * (number % 3), 12
        picture[:, top : top + 24, left : left + 36] = 100 + 20 * number
        boxes.append(torch.tensor([[left, top, left + 36, top + 24]]).float())
    classes = [torch.tensor([number % 2]) for number in range(count)]
    crowd = [torch.tensor([number == 5]) for number in range(count)]
    return images, BoxLabels.from_person(boxes, classes, crowd=crowd)


def test_no_mosaic() -> None:
    images, labels = scenes()
    same, things = mosaic(images, labels, Draws(0), probability=0)
    assert torch.equal(same, images) and torch.equal(things.boxes, labels.boxes)
    assert torch.equal(things.crowd, labels.crowd)


def test_boxes_lie_where_their_things_are() -> None:
    images, labels = scenes()
    tiled, things = mosaic(images, labels, Draws(0), probability=1)
    assert tiled.shape == images.shape and set(things.counts.tolist()) == {4, 9}
    for (x1, y1, x2, y2), picture, crowd in zip(
        things.boxes.round().int().tolist(), things.pictures, things.crowd, strict=True
    ):
        inner = tiled[picture, 0, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
        assert (inner >= 100).all() and inner.unique().numel() == 1
        assert bool(crowd) == (int(inner[0, 0]) == 200)
        if y1 > 1:
            assert (tiled[picture, 0, y1 - 2, x1 + 2 : x2 - 2] == 20).all()
    assert things.known.all()


def test_some_become_mosaics_and_all_stay_in_their_place() -> None:
    images, labels = scenes()
    tiled, things = mosaic(images, labels, Draws(1), probability=0.5)
    whole = things.counts == 1
    assert 0 < whole.sum() < 6
    assert torch.equal(tiled[whole], images[whole])
    assert torch.equal(things.select(whole).boxes, labels.select(whole).boxes)


def test_one_picture_without_boxes_and_a_bad_probability() -> None:
    images, labels = scenes(1)
    tiled, things = mosaic(images, labels.keep(labels.crowd), Draws(0), probability=1)
    assert tiled.shape == images.shape and things.counts.tolist() == [0]
    with pytest.raises(ConfigError, match="mosaic"):
        mosaic(images, labels, Draws(0), probability=1.5)
