"""What people said goes out as it came in, whatever the size that is learnt from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from leaven.data import Data
from leaven.data.open_annotated import open_boxes, open_maps
from leaven.data.pixel_maps import PixelMaps
from leaven.labels import BoxLabels, PixelLabels, Source
from leaven.train.found import found_pixels, found_rows

FEW: dict[str, Any] = {"labelled": 4, "test_share": 0.9}


def nothing(data: Data[BoxLabels]) -> BoxLabels:
    count = len(data.unlabelled)
    empty = [torch.zeros(0, 4)] * count
    known = torch.zeros(count, dtype=torch.bool)
    labels = BoxLabels.from_person(empty, [torch.zeros(0).long()] * count, known=known)
    return replace(labels, masks=data.unlabelled.labels.masks)


@pytest.mark.parametrize("masks", [False, True])
def test_boxes_and_masks_of_people_are_those_that_were_found(masks: bool) -> None:
    small = open_boxes("scenes", masks=masks, image_size=40, **FEW)
    whole = open_boxes("scenes", masks=masks, **FEW).train
    rows, sizes = found_rows(small.train, nothing(small))
    assert sizes.tolist() == [[96, 96]] * len(small.train)
    known = small.train.known
    back, given = rows.select(known), whole.labels.select(known)
    assert torch.equal(back.boxes, given.boxes) and torch.equal(back.classes, given.classes)
    if masks:
        assert back.masks is not None and given.masks is not None
        assert list(back.masks.runs) == list(given.masks.runs)


def test_boxes_that_are_not_those_that_were_found_are_scaled_back() -> None:
    small = open_boxes("scenes", image_size=48, **FEW)
    known = small.train.known.nonzero().squeeze(1)
    moved = small.train.labels.boxes.clone()
    first = small.train.labels.pictures == known[0]
    moved[first] += 1.0
    train = replace(small.train, labels=replace(small.train.labels, boxes=moved))
    rows, _ = found_rows(train, nothing(small))
    whole = open_boxes("scenes", **FEW).train.labels
    for number, item in enumerate(known):
        back, given = rows.select(item[None]).boxes, whole.select(item[None]).boxes
        assert torch.equal(back, given) == (number > 0)
        expected = (given + 2 if number == 0 else given).clamp(0, 96)
        torch.testing.assert_close(back, expected, atol=1e-4, rtol=0)


def test_maps_of_people_are_those_that_were_found() -> None:
    small, whole = open_maps("scenes", image_size=40, **FEW), open_maps("scenes", **FEW)
    _, height, width = small.shape
    labels = PixelLabels.from_model(
        torch.zeros(len(small.unlabelled), height, width, dtype=torch.uint8),
        torch.zeros(len(small.unlabelled), height, width),
        torch.zeros(len(small.unlabelled), height, width),
    )
    said = [one for one in found_pixels(small.train, labels) if one.source == Source.PERSON]
    given = whole.train.labels.stored(whole.train.known.nonzero().squeeze(1))
    assert torch.equal(torch.stack([one.classes for one in said]), given)

    turned = small.train.labels.stored(torch.arange(len(small.train))).flip(2)
    other = replace(small.train, labels=PixelMaps.from_tensor(turned, small.train.known))
    said = [one for one in found_pixels(other, labels) if one.source == Source.PERSON]
    assert not torch.equal(torch.stack([one.classes for one in said]), given)
    assert said[0].classes.shape == (96, 96)
