"""Boxes and masks under recorded geometry: both must tell of the same pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leaven.data import transforms as T
from leaven.data.transforms.geometry import Geometry, between
from leaven.errors import DataError
from leaven.labels import BoxLabels, Masks, Source

SIZE = (60, 80)


def ellipses(count: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """(count, H, W) bool, well inside the picture."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(count, 4, generator=generator)
    height, width = size
    x, y = (0.35 + 0.3 * u[:, 0]) * width, (0.35 + 0.3 * u[:, 1]) * height
    across, down = (0.08 + 0.12 * u[:, 2]) * width, (0.08 + 0.12 * u[:, 3]) * height
    v, h = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    distance = ((h - x[:, None, None]) / across[:, None, None]) ** 2
    return distance + ((v - y[:, None, None]) / down[:, None, None]) ** 2 <= 1


def labels_of(boxes: Tensor, counts: list[int], masks: Masks | None = None) -> BoxLabels:
    rows = torch.arange(len(boxes))
    return BoxLabels(
        boxes.float(),
        rows % 3,
        0.5 + rows / 100,
        0.25 + rows / 100,
        torch.full((len(boxes),), int(Source.MODEL)),
        torch.tensor(counts),
        torch.ones(len(counts), dtype=torch.bool),
        rows % 4 == 3,
        masks,
    )


def seen_boxes(masks: Tensor) -> Tensor:
    """The tight boxes, one by one."""
    found = torch.zeros(len(masks), 4)
    for row, mask in enumerate(masks):
        y, x = mask.nonzero().unbind(1)
        if len(x):
            found[row] = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
    return found


def intersections(first: Tensor, second: Tensor) -> Tensor:
    low = torch.maximum(first[:, :2], second[:, :2])
    high = torch.minimum(first[:, 2:], second[:, 2:])
    shared = (high - low).clamp_min(0).prod(1)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


def straight(seed: int) -> Geometry:
    """Scale, crop and mirror."""
    u = torch.rand(6, 4, generator=torch.Generator().manual_seed(seed))
    view = (50, 90)
    scaled = T.scaled(0.6 + u[:, 0], SIZE, view)
    cropped = scaled.then(T.cropped(20 * u[:, 1] - 10, 20 * u[:, 2] - 10, view, view))
    return cropped.then(T.mirrored(u[:, 3] < 0.5, view))


def test_tight_boxes_of_masks() -> None:
    masks = ellipses(7, SIZE)
    masks[3] = False
    masks[4, 0, 0] = masks[4, 59, 79] = True
    assert torch.equal(T.mask_boxes(masks), seen_boxes(masks))
    assert torch.equal(T.mask_boxes(masks), Masks.from_dense(masks).boxes())
    assert T.mask_boxes(masks[:0]).shape == (0, 4)


def test_boxes_drawn_as_masks() -> None:
    boxes = torch.tensor([[2.0, 3, 7, 5], [0, 0, 80, 60], [4.6, 1.4, 9.4, 2.6], [5, 5, 5, 9]])
    masks = T.box_masks(boxes, SIZE)
    assert masks.flatten(1).sum(1).tolist() == [10, 4800, 4 * 2, 0]
    assert T.mask_boxes(masks)[2].tolist() == [5, 1, 9, 3]
    assert torch.equal(T.mask_boxes(masks)[:2], boxes[:2])


@pytest.mark.parametrize("seed", range(4))
def test_boxes_of_moved_masks_equal_moved_boxes(seed: int) -> None:
    geometry, masks = straight(seed), ellipses(6, SIZE, seed)
    rows = torch.arange(6)
    moved, share = geometry.boxes(seen_boxes(masks), rows)
    found = seen_boxes(geometry.masks(masks, rows))
    visible, whole = found.any(1), share > 0.999
    assert visible.sum() >= 4 and whole.sum() >= 2
    assert ((moved - found).abs()[whole] <= 1).all()
    # What the view cuts off may hold the outermost pixels of what is left.
    assert (found[visible][:, :2] >= moved[visible][:, :2] - 1).all()
    assert (found[visible][:, 2:] <= moved[visible][:, 2:] + 1).all()
    filled = T.box_masks(seen_boxes(masks), SIZE)
    rectangles = seen_boxes(geometry.masks(filled, rows))
    assert ((moved - rectangles).abs()[rectangles.any(1)] <= 1).all()
    small = T.scaled(torch.full((6,), 0.7), SIZE, SIZE)
    close = (small.boxes(seen_boxes(masks), rows)[0] - seen_boxes(small.masks(masks, rows))).abs()
    assert close.max() <= 1
    mirror = T.mirrored(rows % 2 == 0, SIZE)
    assert torch.equal(
        mirror.boxes(seen_boxes(masks), rows)[0], seen_boxes(mirror.masks(masks, rows))
    )


def test_the_hull_holds_what_is_turned_or_sheared() -> None:
    masks, rows = ellipses(6, SIZE, 3), torch.arange(6)
    turned = T.turned(torch.linspace(-40, 40, 6), SIZE)
    sheared = T.sheared(torch.linspace(-0.5, 0.5, 6), torch.linspace(0.3, -0.3, 6), SIZE)
    for geometry in (turned, sheared, turned.then(sheared)):
        hull, _ = geometry.boxes(seen_boxes(masks), rows)
        found = seen_boxes(geometry.masks(masks, rows))
        assert found.any(1).sum() >= 4
        held = found[found.any(1)], hull[found.any(1)]
        assert (held[0][:, :2] >= held[1][:, :2] - 0.5).all()
        assert (held[0][:, 2:] <= held[1][:, 2:] + 0.5).all()
    there_and_back, _ = turned.inverse().boxes(turned.boxes(seen_boxes(masks), rows)[0], rows)
    inner = seen_boxes(masks)
    assert (there_and_back[:, :2] <= inner[:, :2] + 1e-3).all()
    assert (there_and_back[:, 2:] >= inner[:, 2:] - 1e-3).all()


def test_between_views_and_back_boxes_return() -> None:
    """By mirrors and scales, within 1e-4."""
    u = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    weak = T.scaled(0.5 + u[:, 0], (600, 800), (1000, 1300))
    strong = T.mirrored(u[:, 1] < 0.5, (600, 800)).then(
        T.scaled(0.4 + u[:, 1], (600, 800), (1000, 1300))
    )
    boxes, rows = 50 + 100 * torch.rand(5, 4).cumsum(1), torch.arange(5)
    there, share = between(weak, strong).boxes(boxes, rows)
    back, _ = between(strong, weak).boxes(there, rows)
    assert (share == 1).all()
    assert torch.allclose(back, boxes, rtol=0, atol=1e-4)


def test_clipping_and_the_rule_for_what_is_left() -> None:
    left = T.cropped(torch.tensor([40.0]), torch.tensor([0.0]), SIZE, (60, 40))
    boxes = torch.tensor(
        [[50.0, 10, 60, 20], [30, 10, 50, 20], [39, 0, 40.5, 60], [0, 0, 40, 60], [0, 0, 80, 60]]
    )
    moved, share = left.boxes(boxes, torch.zeros(5, dtype=torch.int64))
    assert share.tolist() == pytest.approx([1, 0.5, 1 / 3, 0, 0.5])
    assert moved[1].tolist() == [0, 10, 10, 20]
    assert moved[4].tolist() == [0, 0, 40, 60]
    labels = labels_of(boxes, [5])
    kept = left.labels(labels)
    assert kept.counts.tolist() == [3] and kept.classes.tolist() == [0, 1, 1]
    assert torch.equal(kept.confidence, labels.confidence[[0, 1, 4]])
    assert torch.equal(kept.crowd, labels.crowd[[0, 1, 4]])
    assert left.labels(labels, least_share=0.6).classes.tolist() == [0]
    assert left.labels(labels, least_side=0.5).counts.tolist() == [4]
    assert left.labels(labels, least_share=0.0, least_side=0.0).counts.tolist() == [5]


def test_labels_return_by_the_inverse() -> None:
    masks = ellipses(5, SIZE)
    labels = labels_of(seen_boxes(masks), [2, 0, 3], Masks.from_dense(masks))
    mirror = T.mirrored(torch.tensor([True, True, False]), SIZE)
    there = mirror.labels(labels)
    assert not torch.equal(there.boxes, labels.boxes)
    back = mirror.inverse().labels(there)
    assert back.masks is not None
    assert torch.equal(back.masks.dense(), masks)
    assert torch.equal(back.boxes, labels.boxes)
    assert torch.equal(back.counts, labels.counts) and torch.equal(back.weight, labels.weight)


def test_with_masks_the_boxes_are_tight() -> None:
    masks = ellipses(4, SIZE, 5)
    labels = labels_of(seen_boxes(masks), [4], Masks.from_dense(masks))
    turned = T.turned(torch.tensor([30.0]), SIZE)
    there = turned.labels(labels, least_share=0.5)
    assert there.masks is not None and len(there.boxes) >= 3
    assert torch.equal(there.boxes, seen_boxes(there.masks.dense()))
    moved = turned.masks(masks, torch.zeros(4, dtype=torch.int64))
    shares = moved.flatten(1).sum(1) / masks.flatten(1).sum(1)
    assert len(there.boxes) == int((shares >= 0.5).sum())
    # Further away the mask leaves the view, and its row with it.
    gone = T.shifted(torch.tensor([300.0]), torch.tensor([0.0]), SIZE).labels(labels)
    assert gone.counts.tolist() == [0] and gone.masks is not None and len(gone.masks) == 0


def test_masks_keep_their_region_under_scale_and_turn() -> None:
    masks, rows = ellipses(6, SIZE, 1), torch.arange(6)
    geometry = T.scaled(torch.linspace(0.7, 1.6, 6), SIZE, (96, 128)).then(
        T.turned(torch.linspace(-10, 10, 6), (96, 128))
    )
    moved = geometry.masks(masks, rows)
    back = geometry.inverse().masks(moved, rows)
    union = (back | masks).flatten(1).sum(1)
    assert ((back & masks).flatten(1).sum(1) / union > 0.9).all()
    # Two things of one picture move alike.
    twice = geometry.masks(masks[[2, 2]], torch.tensor([2, 2]))
    assert torch.equal(twice[0], moved[2]) and torch.equal(twice[1], moved[2])


def test_no_boxes_at_all() -> None:
    nothing = BoxLabels.nothing(3)
    for geometry in (T.unmoved(3, SIZE), T.turned(torch.ones(3), SIZE)):
        moved = geometry.labels(nothing)
        assert moved.counts.tolist() == [0, 0, 0] and moved.boxes.shape == (0, 4)
        assert not moved.known.any()
    empty = labels_of(torch.zeros(0, 4), [0, 0], Masks([], torch.zeros(0, 2, dtype=torch.int64)))
    assert len(T.unmoved(2, SIZE).labels(empty).boxes) == 0
    assert len(T.unmoved(0, SIZE).labels(BoxLabels.nothing(0))) == 0
    with pytest.raises(DataError, match="2 views"):
        T.unmoved(2, SIZE).labels(nothing)


def test_masks_of_another_size_are_refused() -> None:
    masks = Masks.joined(
        [Masks.from_dense(ellipses(1, SIZE)), Masks.from_dense(ellipses(1, (9, 8)))]
    )
    labels = labels_of(torch.tensor([[1.0, 1, 5, 5]] * 2), [1, 1], masks)
    with pytest.raises(DataError, match=r"\[9, 8\]"):
        T.unmoved(2, SIZE).labels(labels)


def test_a_box_without_area_has_no_share() -> None:
    boxes = torch.tensor([[3.0, 3, 3, 9], [9, 9, 4, 4]])
    _, share = T.turned(torch.tensor([10.0]), SIZE).boxes(boxes[:1], torch.tensor([0]))
    assert share.isfinite().all()
    _, share = T.unmoved(1, SIZE).boxes(boxes[:1], torch.tensor([0]))
    assert share.tolist() == [0]


def test_random_labels_overlap_the_hull_of_their_pixels() -> None:
    """Boxes as rectangles of pixels, warped as pixels, against warped boxes."""
    generator = torch.Generator().manual_seed(2)
    low = 30 * torch.rand(20, 2, generator=generator)
    boxes = torch.cat([low, low + 8 + 20 * torch.rand(20, 2, generator=generator)], 1)
    rows = torch.arange(20) % 6
    geometry = straight(9)
    moved, share = geometry.boxes(boxes, rows)
    found = seen_boxes(geometry.masks(T.box_masks(boxes, SIZE), rows))
    compared = share > 0.2
    assert compared.sum() >= 8
    assert (intersections(moved[compared], found[compared]) > 0.75).all()
