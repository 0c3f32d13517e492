"""Items that are held out for promises: how they are drawn, and what a method sees of them."""

import dataclasses

import pytest
import torch

from leaven.data import Data, FeaturePixels, ImageSet, JoinedPixels, MemoryPixels, open_data
from leaven.data.calibration import (
    Calibration,
    joined_pixels,
    take_calibration,
    with_calibration,
)
from leaven.data.open_annotated import open_boxes, open_maps
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import DataError
from leaven.labels import BoxLabels


def images(labels):
    labels = torch.tensor(labels)
    pixels = torch.arange(len(labels)).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).to(torch.uint8)
    names = [f"{number}" for number in range(len(labels))]
    return ImageSet(MemoryPixels(pixels.contiguous()), labels, labels.clone(), names)


def hidden(items, *rows):
    labels = items.labels.clone()
    labels[list(rows)] = -1
    return dataclasses.replace(items, labels=labels)


def test_of_an_experiment_they_are_drawn_from_what_was_hidden():
    whole = images([0, 1] * 10)
    after = hidden(whole, *range(4, 20))
    rest, held = take_calibration(whole, after, Calibration(6), seed=0)
    assert len(rest) == 14
    assert len(held) == 6
    assert {"0", "1", "2", "3"} <= set(rest.names)
    assert not set(held.names) & set(rest.names)
    assert held.labels.tolist() == [int(name) % 2 for name in held.names]
    assert rest.labels.tolist() == [0, 1, 0, 1] + [-1] * 10


def test_else_from_all_labelled_items_in_random_order():
    whole = hidden(images([0, 1] * 20), *range(30, 40))
    drawn = [take_calibration(whole, whole, Calibration(5), seed)[1].names for seed in range(300)]
    assert drawn[0] != drawn[1]
    assert any(names != sorted(names, key=int) for names in drawn)
    counts = torch.bincount(torch.tensor([int(n) for names in drawn for n in names]), minlength=40)
    assert counts[30:].tolist() == [0] * 10
    assert int(counts[:30].min()) > 20
    again = take_calibration(whole, whole, Calibration(5), 0)[1].names
    assert again == drawn[0]


def test_unasked_a_third_of_the_labels_is_the_most():
    whole = images([0, 1] * 20)
    assert len(take_calibration(whole, whole, Calibration(149, 1 / 3), 0)[1]) == 13
    assert len(take_calibration(whole, whole, Calibration(5, 1 / 3), 0)[1]) == 5
    few = hidden(whole, *range(34, 40))
    assert len(take_calibration(whole, few, Calibration(149, 1 / 3), 0)[1]) == 3


def test_the_truth_stands_for_labels_that_may_be_wrong():
    whole = images([0, 1] * 20)
    truth = 1 - whole.labels
    truth[0] = -1
    whole = dataclasses.replace(whole, truth=truth)
    held = take_calibration(whole, whole, Calibration(38), 0)[1]
    for name, label in zip(held.names, held.labels.tolist(), strict=True):
        number = int(name)
        assert label == (0 if number == 0 else 1 - number % 2)


@pytest.mark.parametrize("count", [40, 41, 1000])
def test_as_many_as_there_are_cannot_be_held_out(count):
    whole = images([0, 1] * 20)
    with pytest.raises(DataError, match="40 to take them from"):
        take_calibration(whole, whole, Calibration(count), 0)


def test_no_class_loses_its_last_label():
    whole = images([0] * 19 + [1])
    with pytest.raises(DataError, match="without a label"):
        for seed in range(20):
            take_calibration(whole, whole, Calibration(15), seed)


def test_a_method_sees_them_as_the_last_unlabelled_items():
    data = open_data("digits", labels_per_class=4, calibration=Calibration(200), seed=0)
    shown = with_calibration(data)
    assert data.calibration is not None
    assert shown.calibration is None
    assert list(shown.unlabelled.names[-200:]) == list(data.calibration.names)
    assert list(shown.unlabelled.names[:-200]) == list(data.unlabelled.names)
    assert torch.equal(shown.labelled.labels, data.labelled.labels)
    assert (shown.unlabelled.truth[-200:] == -1).all()
    assert torch.equal(shown.unlabelled.truth[:-200], data.unlabelled.truth)
    index = torch.tensor([0, 150])
    last = shown.unlabelled.subset(torch.arange(len(shown.unlabelled) - 200, len(shown.unlabelled)))
    assert torch.equal(last.pixels.batch(index), data.calibration.pixels.batch(index))
    assert shown.train.pixels.images is data.train.pixels.images


def test_without_held_out_items_nothing_changes(digits_data):
    assert with_calibration(digits_data) is digits_data


def test_labels_that_are_kept_do_not_depend_on_a_promise():
    without = open_data("digits", labels_per_class=4, seed=1)
    promised = open_data("digits", labels_per_class=4, calibration=Calibration(100), seed=1)
    assert list(promised.labelled.names) == list(without.labelled.names)
    assert list(promised.test.names) == list(without.test.names)


def test_of_maps_and_boxes_nothing_is_said():
    maps = open_maps("scenes", labelled=5, calibration=Calibration(30), seed=0)
    shown = with_calibration(maps)
    assert isinstance(shown.train.labels, PixelMaps)
    assert len(maps.calibration) == 30
    assert maps.calibration.known.all()
    last = torch.arange(len(shown.train) - 30, len(shown.train))
    assert (shown.train.labels[last] == -1).all()
    assert (shown.train.truth[last] == -1).all()
    assert shown.train.labels.known.sum() == 5
    assert shown.train.sizes.shape == (len(shown.train), 2)

    boxes = open_boxes("scenes", masks=True, labelled=5, calibration=Calibration(30), seed=0)
    shown = with_calibration(boxes)
    assert isinstance(shown.train.labels, BoxLabels)
    assert boxes.calibration.labels.known.all()
    assert len(boxes.calibration.labels.boxes) > 0
    assert shown.train.labels.counts[last].sum() == 0
    assert shown.train.truth.counts[last].sum() == 0
    assert shown.train.labels.masks is not None
    assert shown.train.known.sum() == 5


def test_parts_of_one_set_are_joined_without_a_copy():
    whole = MemoryPixels(torch.arange(10).view(10, 1, 1, 1).to(torch.uint8))
    first, second = whole.subset(torch.tensor([3, 1])), whole.subset(torch.tensor([7]))
    joined = joined_pixels(first, second)
    assert joined.images is whole.images
    assert joined.batch(torch.tensor([2, 0])).flatten().tolist() == [7, 3]
    rows = FeaturePixels(torch.arange(10.0).view(10, 1))
    both = joined_pixels(rows.subset(torch.tensor([4])), rows.subset(torch.tensor([9, 2])))
    assert both.table is rows.table
    assert both.batch(torch.arange(3)).flatten().tolist() == [4, 9, 2]
    apart = joined_pixels(whole, MemoryPixels(whole.images.clone()))
    assert isinstance(apart, JoinedPixels)
    assert apart.batch(torch.tensor([12])).flatten().tolist() == [2]


def test_pictures_in_files_are_joined(tmp_path):
    from PIL import Image

    for number in range(24):
        place = tmp_path / str(number % 2)
        place.mkdir(exist_ok=True)
        Image.new("L", (16, 16), number).save(place / f"{number}.png")
    data = open_data(
        tmp_path, test_share=0.0, calibration=Calibration(6), memory_limit=0, image_size=16
    )
    shown = with_calibration(data)
    assert type(shown.train.pixels) is type(data.train.pixels)
    found = shown.train.pixels.batch(torch.arange(18, 24))[:, 0, 0, 0].tolist()
    assert found == [int(name.split("/")[-1].split(".")[0]) for name in data.calibration.names]


def test_data_without_them_is_made_as_before():
    data = Data("x", ("a", "b"), images([0, 1]))
    assert data.calibration is None
