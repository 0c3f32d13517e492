"""Evidence simulators."""

from __future__ import annotations

import pytest
import torch

from leaven.data import ImageSet, MemoryPixels, hide_labels
from leaven.errors import DataError

CLASSES = ("a", "b", "c")


def known(counts: tuple[int, ...]) -> ImageSet:
    labels = torch.repeat_interleave(torch.tensor([0, 1, 2, -1]), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]
    names = [str(item) for item in range(len(labels))]
    pixels = MemoryPixels(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8))
    return ImageSet(pixels, labels, labels.clone(), names)


def test_keeps_as_many_of_each_class_and_the_whole_truth():
    images = known((5, 9, 7, 4))
    hidden = hide_labels(images, CLASSES, 3, seed=0)
    kept = hidden.labels >= 0
    assert torch.bincount(hidden.labels[kept]).tolist() == [3, 3, 3]
    assert torch.equal(hidden.labels[kept], images.labels[kept])
    assert torch.equal(hidden.truth, images.truth)
    assert (images.labels >= 0).sum() == 21


def test_smaller_choices_lie_in_larger_ones():
    images = known((20, 20, 20, 0))
    kept = [hide_labels(images, CLASSES, count, seed=4).labels >= 0 for count in (2, 5, 20)]
    assert bool((kept[0] <= kept[1]).all()) and bool((kept[1] <= kept[2]).all())
    assert kept[2].all()


def test_the_seed_chooses_and_every_item_can_be_chosen():
    images = known((6, 6, 6, 0))
    chosen = torch.stack([hide_labels(images, CLASSES, 2, seed=s).labels >= 0 for s in range(60)])
    assert chosen.any(0).all()
    assert torch.equal(chosen[5], hide_labels(images, CLASSES, 2, seed=5).labels >= 0)


@pytest.mark.parametrize("wanted", [0, 6])
def test_more_than_there_is_or_none_is_refused(wanted):
    with pytest.raises(DataError, match=r"'b'.*5"):
        hide_labels(known((8, 5, 7, 2)), CLASSES, wanted, seed=0)
