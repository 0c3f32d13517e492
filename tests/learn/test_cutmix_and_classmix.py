"""Mixing masks: their areas and places, and that mixing is copying."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from leaven.data.transforms import covered, mask_boxes, oddly_covered
from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.learn import (
    batch_box,
    classmix_mask,
    half_rectangle,
    mix,
    one_rectangle,
    xor_rectangles,
)

SIZE = (64, 96)


def is_rectangle(masks: Tensor) -> Tensor:
    boxes = mask_boxes(masks)
    return (boxes[:, 2:] - boxes[:, :2]).prod(1) == masks.flatten(1).sum(1)


def test_mixing_copies_and_commutes_with_argmax() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(4, *SIZE, generator=generator) < 0.5
    own, other = torch.rand(2, 4, 5, *SIZE, generator=generator).unbind(0)
    mixed = mix(mask, own, other)
    assert torch.equal(mixed.argmax(1), mix(mask, own.argmax(1), other.argmax(1)))
    assert torch.equal(mixed.amax(1), mix(mask, own.amax(1), other.amax(1)))
    inside = mask[:, None].expand_as(own)
    assert torch.equal(mixed[inside], other[inside]) and torch.equal(mixed[~inside], own[~inside])
    bytes_ = (own * 255).byte()
    assert mix(mask, bytes_, bytes_.flip(0)).dtype == torch.uint8
    assert torch.equal(mix(mask & False, own, other), own)
    assert torch.equal(mix(mask | True, own, other), other)
    assert torch.equal(mix(~mask, other, own), mixed)


def test_mixing_by_one_mask_for_the_batch() -> None:
    classes = torch.arange(3)[:, None, None].expand(3, *SIZE)
    box = batch_box(SIZE, Draws(0))
    mixed = mix(box, classes, classes.roll(-1, 0))
    assert torch.equal(mixed[0][box[0]].unique(), torch.tensor([1]))
    assert torch.equal(mixed[2][~box[0]].unique(), torch.tensor([2]))
    with pytest.raises(ValueError, match="cannot mix"):
        mix(box[:, 1:], classes, classes)
    with pytest.raises(ValueError, match="cannot mix"):
        mix(box, classes, classes[:2])


def test_one_rectangle_has_its_area_aspect_and_probability() -> None:
    masks = one_rectangle(2000, SIZE, Draws(0))
    used = masks.flatten(1).any(1)
    assert 0.46 < used.float().mean() < 0.54
    masks = masks[used]
    assert is_rectangle(masks).all()
    share = masks.float().mean((1, 2))
    # Sides are rounded down to whole pixels.
    assert share.max() <= 0.4 and share.max() > 0.38
    assert share.min() > 0.02 * 0.8 and share.min() < 0.03
    boxes = mask_boxes(masks)
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    assert ((height + 1) / width > 0.3).all() and (height / (width + 1) < 1 / 0.3).all()
    covered = masks.float().mean(0)
    assert covered[5:-5, 5:-5].min() > 0 and covered[32, 48] > covered[2, 2]


def test_one_rectangle_follows_the_law_of_drawing_until_it_fits() -> None:
    """Widths and places of large rectangles against the paper's loop, sample by sample."""
    size, share, count = (20, 20), 0.4, 6000
    boxes = mask_boxes(one_rectangle(count, size, Draws(1), 1.0, (share, share)))
    generator = torch.Generator().manual_seed(0)
    low, high = 0.3, 1 / 0.3
    drawn = torch.rand(60000, 3, generator=generator)
    ratio = low + (high - low) * drawn[:, 0]
    width = (share * 400 / ratio).sqrt().floor()
    height = (share * 400 * ratio).sqrt().floor()
    left, top = (20 * drawn[:, 1:]).floor().unbind(1)
    fits = (left + width <= 20) & (top + height <= 20)
    assert fits.sum() > 5000
    for found, wanted in ((boxes[:, 2] - boxes[:, 0], width[fits]), (boxes[:, 0], left[fits])):
        for value in (found.float().mean() - wanted.mean(), found.std() - wanted.std()):
            assert abs(float(value)) < 0.15
        shares = [(side.long().bincount(minlength=21) / len(side)) for side in (found, wanted)]
        assert (shares[0] - shares[1]).abs().max() < 0.025


def test_xor_rectangles_flip_pixels() -> None:
    single = xor_rectangles(1500, SIZE, Draws(0), boxes=1)
    assert is_rectangle(single).all()
    share = single.float().mean((1, 2))
    assert 0.24 < share.min() < 0.26 and 0.49 < share.max() < 0.51
    assert share.mean() == pytest.approx(0.375, abs=0.01)
    three = xor_rectangles(1500, SIZE, Draws(0))
    area = three.float().mean((1, 2))
    assert (area > 0).all() and (area < 1).all() and area.max() <= 0.51
    assert not is_rectangle(three).all()
    # Two boxes of the whole picture's share flip their common pixels back.
    whole = xor_rectangles(50, (8, 8), Draws(2), boxes=2, share=(1.0, 1.0))
    side = round(8 / math.sqrt(2))
    assert whole.flatten(1).sum(1).max() <= 2 * side * side
    assert (whole.flatten(1).sum(1) % 2 == 0).all(), "two areas of 36 less twice what they share"


def test_xor_equals_flipping_box_by_box() -> None:
    generator = torch.Generator().manual_seed(1)
    low = torch.randint(0, 20, (5, 3, 2), generator=generator)
    boxes = torch.cat([low, low + torch.randint(0, 20, (5, 3, 2), generator=generator)], 2)
    wanted = torch.zeros(5, 32, 40, dtype=torch.bool)
    either = wanted.clone()
    for sample in range(5):
        for x1, y1, x2, y2 in boxes[sample].tolist():
            wanted[sample, y1:y2, x1:x2] ^= True
            either[sample, y1:y2, x1:x2] = True
    assert torch.equal(oddly_covered(boxes, (32, 40)), wanted)
    assert torch.equal(covered(boxes, (32, 40)), either)


def test_half_rectangle_covers_half() -> None:
    masks = half_rectangle(800, SIZE, Draws(0))
    assert is_rectangle(masks).all()
    boxes = mask_boxes(masks)
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    assert width.min() == 49 and width.max() == 95
    assert torch.equal(height, (64 * 96 / 2 / width).round())
    assert (masks.float().mean((1, 2)) - 0.5).abs().max() < 0.5 / 64 + 1e-6
    none = half_rectangle(400, SIZE, Draws(0), probability=0.5).flatten(1).any(1)
    assert 0.4 < none.float().mean() < 0.6
    with pytest.raises(ConfigError, match="wide"):
        half_rectangle(1, (4, 2), Draws(0), share=0.9)


def test_the_box_of_the_batch() -> None:
    draws = Draws(0)
    boxes = torch.cat([batch_box(SIZE, draws) for _ in range(300)])
    assert is_rectangle(boxes).all() and (boxes.flatten(1).sum(1) == 42 * 64).all()
    corners = mask_boxes(boxes)[:, :2]
    assert corners.amin(0).tolist() == [0, 0] and corners.amax(0).tolist() == [32, 22]
    assert batch_box(SIZE, draws, 1.0).all() and not batch_box(SIZE, draws, 0.0).any()
    assert batch_box((96, 96), draws).sum() == 64 * 64


def test_processes_share_the_box_and_slice_the_rectangles() -> None:
    one, two = Draws(3, rank=0, world=2), Draws(3, rank=1, world=2)
    assert torch.equal(batch_box(SIZE, one), batch_box(SIZE, two))
    first, second = xor_rectangles(4, SIZE, one), xor_rectangles(4, SIZE, two)
    assert (first != second).flatten(1).any(1).all()
    alone = Draws(3)
    batch_box(SIZE, alone)
    together = xor_rectangles(8, SIZE, alone)
    assert torch.equal(together[0::2], first) and torch.equal(together[1::2], second)


def test_no_samples() -> None:
    for masks in (
        one_rectangle(0, SIZE, Draws(0)),
        xor_rectangles(0, SIZE, Draws(0)),
        half_rectangle(0, SIZE, Draws(0)),
        classmix_mask(torch.zeros(0, *SIZE, dtype=torch.int64), Draws(0), 3),
    ):
        assert masks.shape == (0, *SIZE) and masks.dtype == torch.bool


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="area"):
        one_rectangle(1, SIZE, Draws(0), area=(0.4, 0.2))
    with pytest.raises(ConfigError, match="fits"):
        one_rectangle(4, SIZE, Draws(0), area=(0.9, 0.9), aspect=(5, 6))
    with pytest.raises(ConfigError, match="boxes"):
        xor_rectangles(1, SIZE, Draws(0), boxes=0)
    with pytest.raises(ConfigError, match="share"):
        batch_box(SIZE, Draws(0), 1.5)
    with pytest.raises(ConfigError, match="share"):
        classmix_mask(torch.zeros(1, 2, 2, dtype=torch.int64), Draws(0), 3, share=2)


def test_classmix_takes_whole_classes_and_half_of_them() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(-1, 7, (40, 12, 12), generator=generator)
    classes[:8][classes[:8] > 2] = -1
    classes[8] = 4
    classes[9] = -1
    masks = classmix_mask(classes, Draws(0), 7)
    picks = set()
    for mask, one in zip(masks, classes):
        present = set(one.unique().tolist()) - {-1}
        chosen = set(one[mask].unique().tolist())
        assert chosen <= present and len(chosen) == math.ceil(len(present) / 2)
        assert torch.equal(mask, torch.isin(one, torch.tensor(sorted(chosen), dtype=torch.int64)))
        picks.add(tuple(sorted(chosen)))
    assert masks[8].all() and not masks[9].any()
    assert len(picks) > 10, "every sample has its own draw"


def test_classmix_shares() -> None:
    classes = torch.arange(10).repeat(5, 10, 1)
    for share, wanted in ((0.0, 0), (0.1, 1), (0.3, 3), (0.55, 6), (1.0, 10)):
        masks = classmix_mask(classes, Draws(0), 10, share)
        assert (masks[:, 0].sum(1) == wanted).all()
    drawn = [classmix_mask(classes[:1], Draws(seed), 10)[0, 0] for seed in range(400)]
    times = torch.stack(drawn).sum(0)
    assert times.min() > 150 and times.max() < 250, "every class is taken half of the time"
