"""Batches in which pictures of rare classes come more often."""

from __future__ import annotations

import math

import pytest
import torch

from leaven.data import (
    ImageSet,
    MemoryPixels,
    RareClassStream,
    class_pixels,
    rare_class_probs,
)
from leaven.data.pixel_maps import PixelMaps

CPU = torch.device("cpu")


def images() -> ImageSet[PixelMaps]:
    """Eight maps of 4x5: of class 0 but for 2 pixels of class 1 in the first two, 6 of class 2 in
    the third, one of it in the fourth; void ones in the last, and the seventh is not known."""
    maps = torch.zeros(8, 4, 5, dtype=torch.uint8)
    maps[:2, 0, :2] = 1
    maps[2, :2, :3] = 2
    maps[3, 3, 4] = 2
    maps[7, 0] = 255
    known = torch.ones(8, dtype=torch.bool)
    known[6] = False
    labels = PixelMaps.from_tensor(maps, known)
    names = [str(number) for number in range(8)]
    return ImageSet(MemoryPixels(torch.zeros(8, 3, 4, 5, dtype=torch.uint8)), labels, labels, names)


def stream(temperature: float, least: int = 1, size: int = 4) -> RareClassStream:
    made = RareClassStream(images(), size, classes=4, temperature=temperature, least=least)
    made.start(3, CPU)
    return made


def test_the_pixels_of_each_class() -> None:
    expected = torch.tensor(
        [[18, 2, 0, 0], [18, 2, 0, 0], [14, 0, 6, 0], [19, 0, 1, 0]]
        + [[20, 0, 0, 0]] * 2
        + [[0, 0, 0, 0], [15, 0, 0, 0]]
    )
    assert torch.equal(class_pixels(images().labels, 4), expected)


@pytest.mark.parametrize("temperature", [0.01, 0.5, 1e6])
def test_the_probabilities_are_those_of_the_formula(temperature: float) -> None:
    counts = torch.tensor([70, 20, 10, 0])
    odds = [math.exp((1 - share) / temperature - 1 / temperature) for share in (0.7, 0.2, 0.1)]
    expected = torch.tensor([*(odd / sum(odds) for odd in odds), 0.0], dtype=torch.float64)
    assert torch.allclose(rare_class_probs(counts, temperature), expected)


def test_equal_classes_are_drawn_alike_and_one_class_always() -> None:
    assert torch.allclose(
        rare_class_probs(torch.full((5,), 9), 0.01), torch.full((5,), 0.2).double()
    )
    assert rare_class_probs(torch.tensor([0, 7]), 0.01).tolist() == [0, 1]
    with pytest.raises(ValueError, match="no class"):
        rare_class_probs(torch.zeros(3), 0.01)


def test_a_cold_stream_draws_the_pictures_of_the_rarest_class() -> None:
    # 4 pixels of class 1 and 7 of class 2 of 135.
    drawn = torch.cat([stream(0.0005).next().items for _ in range(2)])
    assert set(drawn.tolist()) <= {0, 1}


def test_pictures_come_as_often_as_their_classes() -> None:
    made = stream(0.5, size=50)
    found = torch.bincount(torch.cat([made.next().items for _ in range(200)]), minlength=8) / 10_000
    pixels = class_pixels(images().labels, 4)
    probs = made.probs.float()
    expected = torch.zeros(8)
    for label in range(3):
        shown = (pixels[:, label] > 0).float()
        expected += probs[label] * shown / shown.sum()
    assert expected[6] == 0
    assert torch.allclose(found, expected, atol=0.015)


def test_a_picture_must_show_enough_of_the_class_where_one_does() -> None:
    # The fourth has a pixel of class 2, the third has 6; of class 1 no picture has 5.
    made = stream(1e9, least=5, size=30)
    drawn = set(torch.cat([made.next().items for _ in range(20)]).tolist())
    assert drawn == {0, 1, 2, 3, 4, 5, 7}
    only = RareClassStream(images(), 30, classes=4, temperature=1e9, least=5)
    only.probs = torch.tensor([0.0, 0, 1, 0], dtype=torch.float64)
    assert set(only.next().items.tolist()) == {2}
    only.probs = torch.tensor([0.0, 1, 0, 0], dtype=torch.float64)
    assert set(only.next().items.tolist()) == {0, 1}


def test_a_batch_depends_on_seed_and_position_alone() -> None:
    first, second = stream(0.5), stream(0.5)
    before = [first.next().items for _ in range(5)]
    second.load_state_dict({**first.state_dict(), "position": 3})
    assert torch.equal(second.next().items, before[3])
    assert not all(torch.equal(before[0], other) for other in before[1:])
    other = stream(0.5)
    other.start(4, CPU)
    assert not all(torch.equal(other.next().items, one) for one in before)


def test_processes_share_a_batch() -> None:
    whole = stream(0.5).next().items
    parts = []
    for rank in range(2):
        made = stream(0.5)
        made.start(3, CPU, rank, 2)
        parts.append(made.next().items)
    assert torch.equal(torch.stack(parts, 1).flatten(), whole)


def test_an_index_leaves_pictures_and_their_classes_out() -> None:
    made = stream(0.01, size=40)
    made.index = torch.tensor([3, 4, 5])
    drawn = set(torch.cat([made.next().items for _ in range(5)]).tolist())
    assert drawn <= {3, 4, 5}
