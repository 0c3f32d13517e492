"""Points, tags, careless masks and the choice of pictures."""

from __future__ import annotations

import pytest
import torch

from leaven.data.evidence_dense import (
    interior_points,
    map_tags,
    mask_boxes,
    point_labels,
    random_radius,
    resized_masks,
    stratified_pictures,
)
from leaven.errors import DataError
from leaven.labels import VOID, Masks


def blobs(count: int, size: int = 24, seed: int = 0) -> torch.Tensor:
    """Random masks (m, S, S) with holes, none empty."""
    generator = torch.Generator().manual_seed(seed)
    field = torch.randn(count, 1, size, size, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(field, 5, stride=1, padding=2)[:, 0]
    masks = smooth > 0.1
    masks[:, size // 2, size // 2] = True
    return masks


def random_maps(count: int, classes: int = 4, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randint(0, classes, (count, size, size), generator=generator)
    maps[:, :2] = VOID
    maps[0, maps[0] == 1] = 0
    return maps.to(torch.uint8)


def test_points_lie_inside_and_not_at_the_edge():
    masks = blobs(40)
    points = interior_points(masks, seed=3)
    assert points.shape == (40, 2) and points.dtype == torch.float32
    column, row = points.floor().long().unbind(1)
    assert torch.equal(points, torch.stack([column, row], 1) + 0.5)
    padded = torch.nn.functional.pad(masks, (1, 1, 1, 1))
    for mask, x, y in zip(padded, column + 1, row + 1, strict=True):
        assert mask[y, x]
    square = torch.zeros(200, 21, 21, dtype=torch.bool)
    square[:, 3:18, 3:18] = True
    found = interior_points(square, seed=0)
    # Eight steps deep at most, so at least four: 6..15.
    assert found.min() == 6.5 and found.max() == 14.5


def test_points_at_the_pictures_edge_and_in_single_pixels():
    whole = torch.ones(50, 9, 9, dtype=torch.bool)
    found = interior_points(whole, seed=0)
    assert found.min() == 2.5 and found.max() == 6.5
    one = torch.zeros(1, 5, 7, dtype=torch.bool)
    one[0, 4, 0] = True
    assert interior_points(one, seed=5).tolist() == [[0.5, 4.5]]
    assert interior_points(one[:0], seed=5).shape == (0, 2)


def test_points_come_from_the_seed_and_every_inner_pixel_can_be_one():
    mask = torch.ones(1, 5, 5, dtype=torch.bool)
    found = {tuple(interior_points(mask, seed)[0].tolist()) for seed in range(120)}
    # Depths are 1, 2, 3 from the edge; half of 3 or more are the middle nine.
    assert found == {(x + 0.5, y + 0.5) for x in (1, 2, 3) for y in (1, 2, 3)}
    masks = blobs(5)
    assert torch.equal(interior_points(masks, 1), interior_points(masks, 1))


def test_a_mask_without_a_pixel_has_no_point():
    masks = blobs(3)
    masks[1] = False
    with pytest.raises(DataError, match="1 of 3 masks are empty, the first is number 1"):
        interior_points(masks, 0)


def test_point_labels_keep_as_many_of_each_class():
    maps = random_maps(6)
    points = point_labels(maps, 3, seed=2)
    known = points != VOID
    assert torch.equal(points[known], maps[known]) and points.dtype == torch.uint8
    for picture in range(6):
        counts = torch.bincount(points[picture][known[picture]].long(), minlength=4)
        assert counts.tolist() == [3, 0 if picture == 0 else 3, 3, 3]


def test_point_labels_grow_with_their_number_and_end_with_the_class():
    maps = random_maps(4)
    kept = [point_labels(maps, count, seed=1) != VOID for count in (1, 5, 10_000)]
    assert (kept[0] <= kept[1]).all() and torch.equal(kept[2], maps != VOID)
    assert not torch.equal(kept[0], point_labels(maps, 1, seed=2) != VOID)
    nothing = torch.full((2, 4, 4), VOID, dtype=torch.uint8)
    assert torch.equal(point_labels(nothing, 2, 0), nothing)


def test_tags_count_pixels():
    maps = torch.full((3, 4, 4), VOID, dtype=torch.uint8)
    maps[0, 0, 0] = 2
    maps[1, :2] = 0
    maps[1, 3, :3] = 1
    assert map_tags(maps, 3).tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert map_tags(maps, 3, min_pixels=4).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    with pytest.raises(DataError, match="class 2, and there are 2"):
        map_tags(maps, 2)


def test_boxes_of_masks_are_those_of_coco():
    masks = blobs(20)
    masks[3] = False
    masks[4] = False
    masks[4, 23, 0] = True
    assert torch.equal(mask_boxes(masks), Masks.from_dense(masks).boxes())
    assert mask_boxes(masks[:0]).shape == (0, 4)


def test_masks_grow_and_shrink_by_a_distance():
    masks = blobs(6, size=14)
    radius = torch.tensor([0, 2, -2, 3, -1, 1])
    made = resized_masks(masks, radius)
    place = torch.cartesian_prod(torch.arange(14), torch.arange(14)).double()
    for mask, r, out in zip(masks, radius.tolist(), made, strict=True):
        chosen = mask if r > 0 else ~mask
        near = torch.cdist(place, place[chosen.flatten()]).amin(1).view(14, 14) <= abs(r)
        assert torch.equal(out, near if r > 0 else ~near)


def test_growing_what_shrank_stays_inside():
    masks = blobs(8)
    two = torch.full((8,), 2)
    assert (resized_masks(resized_masks(masks, -two), two) <= masks).all()
    assert (resized_masks(masks, two) >= masks).all()
    assert not resized_masks(masks, torch.full((8,), -40)).any()
    drawn = random_radius(500, 3, seed=0)
    assert drawn.unique().tolist() == list(range(-3, 4))
    with pytest.raises(DataError, match="radii"):
        resized_masks(masks, torch.ones(8))


def test_chosen_pictures_show_rare_classes():
    tags = torch.zeros(200, 5, dtype=torch.bool)
    tags[:120, 0] = True
    tags[100:180, 1] = True
    tags[[7, 130], 2] = True
    tags[[150], 3] = True
    for seed in range(20):
        chosen = stratified_pictures(tags, 5, seed)
        assert len(chosen.unique()) == 5
        assert tags[chosen].any(0).tolist() == [True, True, True, True, False]
        # Those that show nothing are a class as well.
        assert (~tags[chosen].any(1)).any()


def test_the_rarest_class_comes_first():
    tags = torch.zeros(30, 3, dtype=torch.bool)
    tags[:20, 0], tags[20:28, 1], tags[28:, 2] = True, True, True
    for seed in range(10):
        first = tags[stratified_pictures(tags, 3, seed)].int().argmax(1)
        assert first.tolist() == [2, 1, 0]


def test_shares_of_classes_stay_alike():
    generator = torch.Generator().manual_seed(0)
    tags = torch.rand(400, 6, generator=generator) < torch.tensor([0.5, 0.3, 0.2, 0.1, 0.05, 0.02])
    chosen = stratified_pictures(tags, 100, seed=3)
    share = tags[chosen].sum(0) / tags.sum(0)
    assert share.min() >= 0.24 and share.max() < 0.45


def test_smaller_choices_begin_larger_ones():
    tags = torch.rand(60, 4, generator=torch.Generator().manual_seed(2)) < 0.3
    whole = stratified_pictures(tags, 60, seed=1)
    assert whole.sort().values.tolist() == list(range(60))
    assert torch.equal(stratified_pictures(tags, 17, seed=1), whole[:17])
    assert not torch.equal(stratified_pictures(tags, 17, seed=2), whole[:17])
    assert stratified_pictures(tags, 0, seed=1).shape == (0,)
    for wanted in (-1, 61):
        with pytest.raises(DataError, match="there are 60"):
            stratified_pictures(tags, wanted, seed=1)


def test_other_masks_are_refused():
    for wrong in (torch.zeros(2, 4, 4), torch.zeros(4, 4, dtype=torch.bool)):
        with pytest.raises(DataError, match="The masks are"):
            interior_points(wrong, 0)
        with pytest.raises(DataError, match="The masks are"):
            mask_boxes(wrong)


def test_other_maps_are_refused():
    with pytest.raises(DataError, match=r"torch\.int64.*\(4, 4\)"):
        point_labels(torch.zeros(4, 4, dtype=torch.int64), 1, 0)
    with pytest.raises(DataError, match="0 points"):
        point_labels(random_maps(1), 0, 0)
