from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import batched_nms, box_iou

from leaven.draws import Draws
from leaven.labels.boxes import BoxLabels
from leaven.models.detection import BACKGROUND, IGNORED, Regions, Targets, assign, suppress
from leaven.models.detection import regions as module
from leaven.models.detection.regions import assign_regions, rank_in_group, sample

CPU = torch.device("cpu")


def some_boxes(count: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=draw) * 80
    return torch.cat([low, low + torch.rand(count, 2, generator=draw) * 40 + 1], 1)


def labels(*pictures: Tensor, crowd: list[Tensor] | None = None) -> BoxLabels:
    classes = [torch.arange(len(boxes)) for boxes in pictures]
    return BoxLabels.from_person(list(pictures), classes, crowd=crowd)


def test_blocks_hold_the_rows_of_each_picture() -> None:
    first, second = some_boxes(2, 0), some_boxes(3, 1)
    second[1, 2] = second[1, 0]  # no area
    crowd = [torch.tensor([False, True]), torch.zeros(3, dtype=torch.bool)]
    blocks = Targets.of(
        labels(first, torch.zeros(0, 4), second, crowd=[crowd[0], crowd[1][:0], crowd[1]]), CPU
    )
    assert blocks.rows.tolist() == [[0, 1, -1], [-1, -1, -1], [2, 3, 4]]
    assert blocks.true.tolist() == [[True, False, False], [False] * 3, [True, False, True]]
    assert blocks.ignored.tolist() == [[False, True, False], [False] * 3, [False] * 3]
    assert torch.equal(blocks.boxes[2], second)
    assert torch.equal(blocks.regions().boxes, torch.cat([first[:1], second[[0, 2]]]))
    assert blocks.regions().pictures.tolist() == [0, 2, 2]


def test_no_boxes_at_all() -> None:
    blocks = Targets.of(labels(torch.zeros(0, 4), torch.zeros(0, 4)), CPU)
    found = assign(some_boxes(5, 0), blocks, high=0.5, low=0.4, every_target=True)
    assert found.tolist() == [[BACKGROUND] * 5] * 2
    nowhere = assign(torch.zeros(0, 4), blocks, high=0.5, low=0.4, every_target=True)
    assert nowhere.shape == (2, 0)


def test_assignment_is_that_of_torchvision() -> None:
    anchors = some_boxes(200, 0)
    pictures = [some_boxes(6, 1), some_boxes(1, 2), some_boxes(9, 3)]
    blocks = Targets.of(labels(*pictures), CPU)
    for every in (False, True):
        found = assign(anchors, blocks, high=0.6, low=0.3, every_target=every)
        matcher = Matcher(0.6, 0.3, allow_low_quality_matches=every)
        for row, boxes in zip(found, pictures, strict=True):
            assert torch.equal(row, matcher(box_iou(boxes, anchors)))


def test_assignment_in_parts_is_the_same(monkeypatch: object) -> None:
    anchors = some_boxes(50, 0)
    blocks = Targets.of(labels(some_boxes(6, 1), some_boxes(2, 2), some_boxes(3, 3)), CPU)
    whole = assign(anchors, blocks, high=0.5, low=0.3, every_target=True)
    monkeypatch.setattr(module, "_AT_ONCE", 1)  # type: ignore[attr-defined]
    assert torch.equal(assign(anchors, blocks, high=0.5, low=0.3, every_target=True), whole)


def test_a_box_that_overlaps_nothing_takes_nothing() -> None:
    blocks = Targets.of(labels(torch.tensor([[200.0, 200.0, 210.0, 210.0]])), CPU)
    found = assign(some_boxes(5, 0), blocks, high=0.5, low=0.4, every_target=True)
    assert found.tolist() == [[BACKGROUND] * 5]


def test_ignore_regions_cover_background_alone() -> None:
    true, ignored = torch.tensor([0.0, 0.0, 10.0, 10.0]), torch.tensor([0.0, 0.0, 100.0, 50.0])
    blocks = Targets.of(
        labels(torch.stack([true, ignored]), crowd=[torch.tensor([False, True])]), CPU
    )
    inside, half, outside = [20.0, 20, 30, 30], [20.0, 40, 30, 60.1], [20.0, 60, 30, 70]
    places = torch.tensor([true.tolist(), inside, [20.0, 40, 30, 60], half, outside])
    regions = Regions(places, torch.zeros(5, dtype=torch.int64))
    expected = [0, IGNORED, IGNORED, BACKGROUND, BACKGROUND]
    assert assign_regions(regions, blocks, 0.5).tolist() == expected
    assert assign(places, blocks, high=0.5, low=0.5, every_target=False)[0].tolist() == expected


def test_regions_in_any_order_meet_the_boxes_of_their_picture() -> None:
    boxes = [some_boxes(4, 1), some_boxes(2, 2)]
    blocks = Targets.of(labels(*boxes), CPU)
    regions = Regions(torch.cat([boxes[1], boxes[0]]), torch.tensor([1, 1, 0, 0, 0, 0]))
    assert assign_regions(regions, blocks, 0.5).tolist() == [0, 1, 0, 1, 2, 3]
    swapped = Regions(regions.boxes, 1 - regions.pictures)
    own = [box_iou(regions.boxes[[n]], boxes[1 - int(n < 2)]).max() for n in range(6)]
    expected = torch.tensor([float(value) for value in own]) >= 0.5
    assert torch.equal(assign_regions(swapped, blocks, 0.5) >= 0, expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(1, 3), st.integers(0, 12), st.integers(0, 99))
def test_samples(number: int, groups: int, count: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    kinds = torch.randint(-1, 3, (number,), generator=draw)
    owner = torch.randint(0, groups, (number,), generator=draw)
    positive, negative = sample(kinds, owner, count, 0.25, Draws(seed))
    assert (kinds[positive] > 0).all() and (kinds[negative] == 0).all()
    for group in range(groups):
        own = owner == group
        wanted = min(int((kinds[own] > 0).sum()), int(count * 0.25))
        assert int(positive[own].sum()) == wanted
        assert int(negative[own].sum()) == min(int((kinds[own] == 0).sum()), count - wanted)


def test_samples_are_drawn_evenly_and_by_seed() -> None:
    kinds, owner = torch.ones(8), torch.zeros(8, dtype=torch.int64)
    draws = Draws(0)
    hits = sum(sample(kinds, owner, 2, 1.0, draws)[0].float() for _ in range(2000)) / 2000
    assert (hits - 0.25).abs().max() < 0.05
    again = [sample(kinds, owner, 2, 1.0, Draws(3))[0] for _ in range(2)]
    assert torch.equal(*again)


def test_ranks() -> None:
    keys = torch.tensor([0.5, 0.1, 0.9, 0.1, 0.2])
    groups = torch.tensor([2, 0, 2, 0, 2])
    assert rank_in_group(keys, groups).tolist() == [1, 0, 2, 1, 0]
    assert rank_in_group(keys[:0], groups[:0]).tolist() == []


def test_suppression_is_that_of_each_picture_alone() -> None:
    boxes = some_boxes(300, 0)
    draw = torch.Generator().manual_seed(1)
    keys = torch.rand(300, generator=draw)
    kinds = torch.randint(0, 3, (300,), generator=draw)
    pictures = torch.randint(0, 4, (300,), generator=draw)
    found = suppress(boxes, keys, kinds, pictures, nms=0.4, most=20)
    expected = []
    for picture in range(4):
        rows = (pictures == picture).nonzero().squeeze(1)
        kept = batched_nms(boxes[rows], keys[rows], kinds[rows], 0.4)[:20]
        expected.append(rows[kept])
    assert torch.equal(found, torch.cat(expected))
    assert suppress(boxes[:0], keys[:0], kinds[:0], pictures[:0], nms=0.5, most=9).shape == (0,)


def test_suppression_in_large_batches_loses_no_digits() -> None:
    # 1000 pictures of 2000 pixels: two million as an offset leaves an eighth of a pixel in float32.
    pair = torch.tensor([[1000.0, 1000.0, 1002.0, 1002.0], [1000.9, 1000.0, 1002.9, 1002.0]])
    pictures = torch.arange(1000).repeat_interleave(2)
    keys = torch.tensor([0.9, 0.8]).repeat(1000)
    limit = float(box_iou(pair[:1], pair[1:]))
    found = suppress(
        pair.repeat(1000, 1), keys, torch.zeros_like(pictures), pictures, nms=limit + 1e-4, most=9
    )
    assert len(found) == 2000
