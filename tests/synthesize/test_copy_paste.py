"""Copy-paste against a loop that paints things one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from leaven.data.transforms import box_masks, mask_boxes
from leaven.draws import Draws
from leaven.errors import DataError
from leaven.labels import BoxLabels, Masks, Source
from leaven.synthesize import copy_paste, draw_pastes, paste

SIZE = (20, 28)


def pictures(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * torch.tensor([18.0, 12.0])
    side = 3 + 7 * torch.rand(count, 2, generator=generator)
    return torch.cat([low, (low + side).minimum(torch.tensor([28.0, 20.0]))], 1)


def random_masks(count: int, seed: int) -> Tensor:
    """Ragged regions, some overlapping."""
    generator = torch.Generator().manual_seed(seed)
    inside = box_masks(random_boxes(count, seed), SIZE)
    return inside & (torch.rand(count, *SIZE, generator=generator) < 0.9)


def labels_of(boxes: Tensor, counts: list[int], masks: Tensor | None, first: int = 0) -> BoxLabels:
    rows = torch.arange(first, first + len(boxes))
    return BoxLabels(
        boxes,
        rows % 5,
        ((rows % 10) / 10).float(),
        torch.ones(len(boxes)),
        torch.full((len(boxes),), int(Source.MODEL)),
        torch.tensor(counts),
        torch.ones(len(counts), dtype=torch.bool),
        torch.zeros(len(boxes), dtype=torch.bool),
        None if masks is None else Masks.from_dense(masks),
    )


def painted(
    images: Tensor,
    own: Tensor,
    at: Tensor,
    donors: Tensor,
    things: Tensor,
    origin: Tensor,
    onto: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    images, own = images.clone(), own.clone()
    left = torch.zeros_like(things)
    for thing in range(len(things)):
        picture = int(onto[thing])
        if picture < 0:
            continue
        mask = things[thing]
        images[picture][:, mask] = donors[origin[thing]][:, mask]
        for old in range(len(own)):
            if at[old] == picture:
                own[old] &= ~mask
        for earlier in range(thing):
            if onto[earlier] == picture:
                left[earlier] &= ~mask
        left[thing] = mask
    return images, own, left


@pytest.mark.parametrize("seed", range(5))
def test_pasting_equals_painting_one_by_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, donors = pictures(4, seed), pictures(3, seed + 50)
    own, at = random_masks(9, seed), torch.randint(0, 4, (9,), generator=generator)
    things = random_masks(12, seed + 99)
    origin = torch.randint(0, 3, (12,), generator=generator)
    onto = torch.randint(-1, 4, (12,), generator=generator)
    made = paste(images, own, at, donors, things, origin, onto)
    wanted, own_left, left = painted(images, own, at, donors, things, origin, onto)
    assert torch.equal(made.images, wanted)
    assert torch.equal(made.own, own_left) and torch.equal(made.pasted, left)
    assert torch.allclose(made.own_share, own_left.flatten(1).sum(1) / own.flatten(1).sum(1))
    assert torch.allclose(made.pasted_share, left.flatten(1).sum(1) / things.flatten(1).sum(1))
    assert (made.own_share < 1).any() and (made.pasted_share[onto >= 0] < 1).any()
    for picture in range(4):
        shown = made.pasted[onto == picture].int().sum(0)
        assert torch.equal(made.covered[picture], shown == 1), "no pixel shows two pasted things"


@pytest.mark.parametrize("with_masks", [True, False])
def test_labels_after_pasting(with_masks: bool) -> None:
    images, donors = pictures(4, 0), pictures(3, 1)
    boxes, donor_boxes = random_boxes(9, 5), random_boxes(8, 6)
    own, things = box_masks(boxes, SIZE), box_masks(donor_boxes, SIZE)
    if with_masks:
        own, things = random_masks(9, 5), random_masks(8, 6)
        boxes, donor_boxes = mask_boxes(own), mask_boxes(things)
    labels = labels_of(boxes, [3, 0, 4, 2], own if with_masks else None)
    others = labels_of(donor_boxes, [2, 5, 1], things if with_masks else None, first=100)
    onto = torch.tensor([0, 2, 2, -1, 1, 2, 0, 3])
    made, merged = copy_paste(images, labels, donors, others, onto, least_visible=0.3)
    wanted, own_left, left = painted(
        images, own, labels.pictures, donors, things, others.pictures, onto
    )
    assert torch.equal(made, wanted)
    expected = []
    for picture in range(4):
        for kind, whole, rest, box, at, one in (
            ("own", own, own_left, boxes, labels.pictures, labels),
            ("pasted", things, left, donor_boxes, onto, others),
        ):
            for row in range(len(whole)):
                share = int(rest[row].sum()) / max(1, int(whole[row].sum()))
                if at[row] != picture or share < 0.3:
                    continue
                tight = mask_boxes(rest[row][None])[0] if share < 1 else box[row]
                expected.append(
                    (picture, kind, one.classes[row], one.confidence[row], tight, rest[row])
                )
    assert 9 < len(expected) < 17
    assert merged.pictures.tolist() == [e[0] for e in expected]
    assert merged.classes.tolist() == [int(e[2]) for e in expected]
    assert torch.equal(merged.confidence, torch.stack([e[3] for e in expected]))
    assert torch.equal(merged.boxes, torch.stack([e[4] for e in expected]))
    assert (merged.masks is not None) == with_masks
    if merged.masks is not None:
        assert torch.equal(merged.masks.dense(), torch.stack([e[5] for e in expected]))


def test_what_is_hidden_goes_and_the_rest_stays_exact() -> None:
    images, donors = pictures(1, 0), pictures(1, 1)
    boxes = torch.tensor([[2.3, 2.2, 10.7, 8.4], [20.4, 10, 27, 18.5], [4, 4, 8, 6]])
    labels = labels_of(boxes, [3], None)
    donor = labels_of(torch.tensor([[0.0, 0, 6, 20]]), [1], None)
    _, merged = copy_paste(images, labels, donors, donor, torch.tensor([0]), least_visible=0.5)
    # Of the first 9 x 6 pixels, x = 2 to 5 are hidden; of the third one half.
    assert torch.equal(merged.boxes[1], boxes[1]), "of which nothing is hidden"
    assert merged.boxes[0].tolist() == [6, 2, 11, 8]
    assert merged.boxes[2].tolist() == [6, 4, 8, 6]
    assert merged.boxes[3].tolist() == [0, 0, 6, 20]
    _, fewer = copy_paste(images, labels, donors, donor, torch.tensor([0]), least_visible=0.51)
    assert fewer.counts.tolist() == [3]
    covering = labels_of(torch.tensor([[0.0, 0, 28, 20]]), [1], None)
    made, rest = copy_paste(images, labels, donors, covering, torch.tensor([0]), least_visible=0)
    assert torch.equal(made, donors) and rest.boxes.tolist() == [[0, 0, 28, 20]]


def test_nothing_to_paste() -> None:
    images, donors = pictures(3, 0), pictures(2, 1)
    masks = random_masks(4, 0)
    labels = labels_of(mask_boxes(masks), [1, 3, 0], masks)
    nothing = BoxLabels.nothing(2)
    for donor, onto in (
        (nothing, torch.zeros(0, dtype=torch.int64)),
        (labels_of(mask_boxes(masks), [4, 0], masks), torch.full((4,), -1)),
    ):
        made, merged = copy_paste(images, labels, donors, donor, onto)
        assert torch.equal(made, images) and torch.equal(merged.boxes, labels.boxes)
        assert merged.masks is not None and torch.equal(merged.masks.dense(), masks)
    onto = torch.tensor([2, 2, 0, -1])
    donor = labels_of(mask_boxes(masks), [2, 2], masks)
    made, merged = copy_paste(images, BoxLabels.nothing(3), donors, donor, onto)
    assert not torch.equal(made, images)
    assert len(merged.boxes) == int((merged.counts).sum()) and merged.counts[1] == 0
    none = torch.zeros(0, dtype=torch.int64)
    empty, both = copy_paste(
        images[:0], BoxLabels.nothing(0), donors[:0], BoxLabels.nothing(0), none
    )
    assert empty.shape == (0, 3, *SIZE) and len(both) == 0


def test_things_without_pixels() -> None:
    """A thing that no pixel shows cannot be hidden, and pasting it shows nothing."""
    images, donors = pictures(1, 0), pictures(1, 1)
    thin = torch.tensor([[3.6, 2, 4.4, 9], [10, 5, 10, 8]])
    labels, donor = labels_of(thin, [2], None), labels_of(thin + 1, [2], None)
    made, merged = copy_paste(images, labels, donors, donor, torch.tensor([0, 0]))
    assert torch.equal(made, images) and torch.equal(merged.boxes, thin)


def test_draws_of_pastes() -> None:
    counts = [6, 0, 12, 3, 9, 1]
    labels = labels_of(random_boxes(31, 0), counts, None)
    labels = replace(labels, crowd=torch.arange(31) % 7 == 6).with_weight(
        (torch.arange(31) % 5 > 0).float()
    )
    usable = labels.accepted & ~labels.crowd & (labels.confidence >= 0.3)
    seen = torch.zeros(31)
    for seed in range(200):
        onto = draw_pastes(labels, Draws(seed), most=4, least_confidence=0.3)
        chosen = onto >= 0
        assert not (chosen & ~usable).any()
        assert (onto[chosen] != labels.pictures[chosen]).all()
        for picture in range(6):
            targets = onto[chosen & (labels.pictures == picture)]
            assert len(targets) <= 4 and len(targets.unique()) <= 1
        # No picture receives from two.
        pairs = torch.stack([onto, labels.pictures])[:, chosen].unique(dim=1)
        assert len(pairs[0].unique()) == pairs.shape[1]
        seen += chosen
    assert (seen[usable] > 20).all()
    assert torch.equal(draw_pastes(labels, Draws(3)), draw_pastes(labels, Draws(3)))
    assert len(draw_pastes(BoxLabels.nothing(4), Draws(0))) == 0


def test_processes_stay_in_step() -> None:
    """They hold different numbers of things and go on with equal draws."""
    one, two = Draws(0, rank=0, world=2), Draws(0, rank=1, world=2)
    draw_pastes(labels_of(random_boxes(31, 0), [20, 11], None), one)
    draw_pastes(labels_of(random_boxes(3, 0), [2, 1], None), two)
    assert torch.equal(one.generator.get_state(), two.generator.get_state())


def test_bad_input() -> None:
    images, masks = pictures(1, 0), random_masks(2, 0)
    plain, masked = (
        labels_of(mask_boxes(masks), [2], None),
        labels_of(mask_boxes(masks), [2], masks),
    )
    onto = torch.tensor([0, 0])
    with pytest.raises(DataError, match="boxes alone"):
        copy_paste(images, plain, images, masked, onto)
    with pytest.raises(DataError, match="dtype"):
        copy_paste(images, plain, images.float(), plain, onto)
    with pytest.raises(DataError, match="resized"):
        copy_paste(images[..., :9], masked, images[..., :9], masked, onto)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    images, donors, masks = pictures(3, 0), pictures(2, 1), random_masks(6, 0)
    labels = labels_of(mask_boxes(masks), [1, 3, 2], masks)
    donor, onto = labels_of(mask_boxes(masks), [4, 2], masks), torch.tensor([0, 2, -1, 1, 1, 0])
    wanted, left = copy_paste(images, labels, donors, donor, onto)
    made, moved = copy_paste(
        images.cuda(), labels.to("cuda"), donors.cuda(), donor.to("cuda"), onto.cuda()
    )
    assert torch.equal(made.cpu(), wanted) and torch.equal(moved.boxes.cpu(), left.boxes)
    assert moved.masks is not None and left.masks is not None
    assert torch.equal(moved.masks.dense(), left.masks.dense())
    assert draw_pastes(labels.to("cuda"), Draws(0, "cuda")).is_cuda
