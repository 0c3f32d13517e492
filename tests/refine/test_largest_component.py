"""The largest component of each class."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage
from torch import Tensor

from leaven.refine import largest_components


def slow(classes: Tensor, num_classes: int) -> Tensor:
    """Map by map and class by class."""
    kept = torch.where(classes < 0, classes, 0)
    for number, picture in enumerate(classes):
        for k in range(1, num_classes):
            parts, count = ndimage.label((picture == k).numpy(), torch.ones(3, 3).numpy())
            if count:
                sizes = [(parts == part).sum() for part in range(1, count + 1)]
                best = 1 + sizes.index(max(sizes))
                kept[number][torch.from_numpy(parts == best)] = k
    return kept


def test_a_slow_reference_and_doing_it_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    for count in (2, 4):
        classes = torch.randint(-1, count, (5, 9, 11), generator=generator)
        found = largest_components(classes, count)
        assert torch.equal(found, slow(classes, count))
        assert torch.equal(largest_components(found, count), found)
        for picture in found:
            for k in range(1, count):
                assert ndimage.label((picture == k).numpy(), torch.ones(3, 3).numpy())[1] <= 1


def test_corners_connect_and_ties_go_to_the_first() -> None:
    classes = torch.tensor([[[1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1]]])
    expected = torch.tensor([[[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]])
    assert torch.equal(largest_components(classes, 2), expected)


def test_pictures_and_classes_do_not_touch_each_other() -> None:
    classes = torch.tensor([[[1, 1, 2, 2, 2]], [[1, 1, 0, 1, 0]]])
    assert largest_components(classes, 3).tolist() == [[[1, 1, 2, 2, 2]], [[1, 1, 0, 0, 0]]]


def test_absent_classes_stay_absent() -> None:
    nothing = torch.zeros(2, 4, 4, dtype=torch.int64)
    assert torch.equal(largest_components(nothing, 3), nothing)
    unknown = torch.full((1, 4, 4), -1)
    assert torch.equal(largest_components(unknown, 3), unknown)
    assert largest_components(torch.empty(0, 4, 4, dtype=torch.int64), 3).shape == (0, 4, 4)


def test_another_background() -> None:
    classes = torch.tensor([[[0, 1, 1, 0, 0, 1]]])
    assert largest_components(classes, 2, background=1).tolist() == [[[1, 1, 1, 0, 0, 1]]]


def test_volumes_in_a_slow_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(-1, 4, (3, 5, 6, 7), generator=generator)
    for connectivity in (None, 1, 2, 3):
        near = ndimage.generate_binary_structure(3, connectivity or 3)
        kept = torch.where(classes < 0, classes, 0)
        for number, volume in enumerate(classes):
            for k in range(1, 4):
                parts, count = ndimage.label((volume == k).numpy(), near)
                sizes = [(parts == part).sum() for part in range(1, count + 1)]
                kept[number][torch.from_numpy(parts == 1 + sizes.index(max(sizes)))] = k
        found = largest_components(classes, 4, connectivity=connectivity)
        assert torch.equal(found, kept)
        assert torch.equal(largest_components(found, 4, connectivity=connectivity), found)


def test_which_voxels_are_neighbours() -> None:
    volume = torch.zeros(1, 3, 3, 3, dtype=torch.int64)
    for place in ((0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2, 1)):
        volume[0][place] = 1
    # A side, an edge (two axes differ), a corner (all three do).
    counts = [int(largest_components(volume, 2, connectivity=c).sum()) for c in (1, 2, 3)]
    assert counts == [2, 3, 4]
    assert torch.equal(largest_components(volume, 2), volume)


def test_pixels_of_four_neighbours() -> None:
    classes = torch.tensor([[[1, 0, 0], [0, 1, 1]]])
    assert largest_components(classes, 2, connectivity=1).tolist() == [[[0, 0, 0], [0, 1, 1]]]


def test_neighbours_that_cannot_be() -> None:
    for connectivity in (0, 3):
        with pytest.raises(ValueError, match="1 to 2 axes"):
            largest_components(
                torch.zeros(1, 2, 2, dtype=torch.int64), 2, connectivity=connectivity
            )
