"""Scribbles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from leaven.data.evidence_scribbles import scribble_labels
from leaven.data.scenes import scenes
from leaven.errors import DataError
from leaven.labels import VOID


def one_region(mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask, 1, VOID).to(torch.uint8)[None]


def test_strokes_lie_in_their_class_and_every_class_has_one():
    maps = scenes(12, seed=1).semantic
    strokes = scribble_labels(maps, seed=0)
    known = strokes != VOID
    assert torch.equal(strokes[known], maps[known]) and strokes.dtype == torch.uint8
    for picture in range(12):
        assert torch.equal(strokes[picture][known[picture]].unique(), maps[picture].unique())
    assert 0.01 < known.float().mean() < 0.12


def test_each_large_region_has_one_stroke_that_hangs_together():
    maps = torch.zeros(1, 60, 60, dtype=torch.uint8)
    maps[0, 5:25, 5:15] = 1
    maps[0, 35:55, 30:50] = 1
    maps[0, 2, 40:43] = 1
    maps[0, 30, 3] = 2
    strokes = scribble_labels(maps, seed=3, min_pixels=16)
    for label, regions in ((0, 1), (1, 2), (2, 1)):
        assert ndimage.label(strokes[0].numpy() == label, np.ones((3, 3)))[1] == regions
    assert not (strokes[0, 2, 40:43] == 1).any() and strokes[0, 30, 3] == 2


def test_a_stroke_runs_along_the_middle_of_its_region():
    mask = torch.zeros(40, 80, dtype=torch.bool)
    mask[10:27, 4:76] = True
    for seed in range(5):
        drawn = scribble_labels(one_region(mask), seed, width=1, length=0.5)[0] == 1
        rows, columns = drawn.nonzero(as_tuple=True)
        # Half of the way from one side to the other, near row 18 but for the ends.
        assert 25 <= int(columns.max() - columns.min()) <= 45
        inner = (columns > 16) & (columns < 64)
        assert inner.any() and (rows[inner] - 18).abs().max() <= 2


def test_a_stroke_bends_with_a_ring():
    y, x = torch.meshgrid(torch.arange(50) - 25, torch.arange(50) - 25, indexing="ij")
    distance = (x**2 + y**2).sqrt()
    ring = (distance > 14) & (distance < 21)
    drawn = scribble_labels(one_region(ring), 1, width=1, length=1.0)[0] == 1
    assert (drawn <= ring).all()
    assert 35 <= int(drawn.sum()) <= 75
    assert abs(float(distance[drawn].median()) - 17.5) < 1


def test_width_and_length():
    mask = torch.zeros(60, 60, dtype=torch.bool)
    mask[10:50, 5:55] = True
    area = {
        (width, length): int(
            (scribble_labels(one_region(mask), 2, width=width, length=length) == 1).sum()
        )
        for width in (1, 3, 7)
        for length in (0.3, 0.9)
    }
    for length in (0.3, 0.9):
        assert area[1, length] * 2 < area[3, length] and area[3, length] * 1.8 < area[7, length]
    for width in (1, 3):
        assert area[width, 0.9] > 2.3 * area[width, 0.3]


def test_strokes_come_from_the_seed():
    maps = scenes(3, seed=2).semantic
    assert torch.equal(scribble_labels(maps, 5), scribble_labels(maps, 5))
    assert not torch.equal(scribble_labels(maps, 5), scribble_labels(maps, 6))
    assert torch.equal(scribble_labels(maps[:1], 5), scribble_labels(maps, 5)[:1])


def test_unknown_pictures_and_lone_pixels():
    nothing = torch.full((2, 6, 6), VOID, dtype=torch.uint8)
    assert torch.equal(scribble_labels(nothing, 0), nothing)
    nothing[1, 5, 5] = 3
    assert torch.equal(scribble_labels(nothing, 0), nothing)
    assert scribble_labels(nothing[:0], 0).shape == (0, 6, 6)


def test_bad_arguments_are_named():
    maps = torch.zeros(1, 8, 8, dtype=torch.uint8)
    for wrong in ({"width": 0}, {"length": 0.0}, {"length": 1.1}):
        with pytest.raises(DataError, match="Strokes"):
            scribble_labels(maps, 0, **wrong)
    with pytest.raises(DataError, match="int64"):
        scribble_labels(maps.long(), 0)
