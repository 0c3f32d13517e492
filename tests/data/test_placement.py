"""Where a whole picture lies in the shape of a job, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from leaven.data.files import decode
from leaven.data.placement import (
    BESIDE,
    content,
    contents,
    factors,
    fitting_shape,
    found_boxes,
    found_map,
    placed_boxes,
    placed_map,
)
from leaven.labels import VOID, BoxLabels, Masks

sides = st.integers(8, 200)


def test_one_aspect_is_stretched_and_another_leaves_a_rim() -> None:
    sizes = torch.tensor([[360, 480], [361, 480], [100, 100]])
    found = factors(sizes, (120, 160)).tolist()
    assert found[0] == pytest.approx([1 / 3, 1 / 3])
    assert found[1] == pytest.approx([1 / 3, 120 / 361])
    assert found[2] == pytest.approx([1.2, 1.2])
    assert content((100, 100), (120, 160)) == (120, 120)


@given(st.lists(st.tuples(sides, sides)), sides, sides)
def test_many_contents_are_each_of_them(found: list[tuple[int, int]], high: int, wide: int) -> None:
    sizes = torch.tensor(found, dtype=torch.int64).view(-1, 2)
    expected = []
    for (height, width), (x, y) in zip(found, factors(sizes, (high, wide)).tolist(), strict=True):
        expected.append((min(high, max(1, round(height * y))), min(wide, max(1, round(width * x)))))
    assert [tuple(row) for row in contents(sizes, (high, wide)).tolist()] == expected


@given(sides, sides, sides, sides)
def test_the_content_fits_and_touches_two_sides(h: int, w: int, high: int, wide: int) -> None:
    height, width = content((h, w), (high, wide))
    assert 1 <= height <= high and 1 <= width <= wide
    assert height == high or width == wide


@given(sides, sides, sides, sides, st.integers(0, 1000))
def test_boxes_go_there_and_back(h: int, w: int, high: int, wide: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(3, 2, generator=generator) * torch.tensor([w, h]) / 2
    boxes = torch.cat([low, low + torch.tensor([w, h]) / 2], 1)
    labels = BoxLabels.from_person([boxes], [torch.zeros(3, dtype=torch.int64)])
    sizes = torch.tensor([[h, w]])
    placed = placed_boxes(labels, sizes, (high, wide))
    assert (placed.boxes[:, 2] <= wide + 1e-3).all() and (placed.boxes[:, 3] <= high + 1e-3).all()
    back = found_boxes(placed, sizes, (high, wide))
    assert torch.allclose(back.boxes, boxes, atol=1e-2)


def test_masks_go_along_and_back() -> None:
    mask = torch.zeros(1, 10, 10, dtype=torch.bool)
    mask[0, 2:6, 3:7] = True
    labels = BoxLabels.from_person(
        [torch.tensor([[3.0, 2, 7, 6]])], [torch.tensor([0])], masks=Masks.from_dense(mask)
    )
    sizes = torch.tensor([[10, 10]])
    placed = placed_boxes(labels, sizes, (20, 30))
    assert placed.masks is not None and placed.masks.sizes.tolist() == [[20, 30]]
    assert placed.masks.boxes().tolist() == placed.boxes.tolist() == [[6, 4, 14, 12]]
    back = found_boxes(placed, sizes, (20, 30))
    assert back.masks is not None and torch.equal(back.masks.dense(), mask)


def test_a_map_made_larger_comes_back_whole() -> None:
    stored = torch.randint(0, 5, (7, 9), dtype=torch.uint8)
    placed = placed_map(stored, (28, 50))
    assert (placed[:, 36:] == VOID).all()
    assert torch.equal(found_map(placed, (7, 9)), stored)


def test_the_picture_lies_where_its_map_lies() -> None:
    picture = np.zeros((20, 10, 3), dtype=np.uint8)
    picture[5:15] = 255
    shown = decode(Image.fromarray(picture), (10, 20), 3, whole=True)
    placed = placed_map(torch.from_numpy(picture[..., 0] // 255), (10, 20))
    assert (shown[:, :, 5:] == BESIDE).all() and (placed[:, 5:] == VOID).all()
    assert shown[0, 5, 2] == 255 and placed[5, 2] == 1
    assert shown[0, 0, 2] == 0 and placed[0, 2] == 0


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ([[96, 96], [96, 96]], (96, 96)),
        ([[360, 480]], (192, 256)),
        ([[480, 360]], (256, 192)),
        ([[100, 100], [50, 100], [100, 200]], (128, 256)),
    ],
)
def test_the_shape_has_the_median_aspect(sizes: list[list[int]], shape: tuple[int, int]) -> None:
    assert fitting_shape(torch.tensor(sizes), 256) == shape
