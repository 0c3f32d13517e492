"""Boxes that are missing, loose or of a wrong class."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import box_iou

from leaven.data.evidence_boxes import flipped_classes, jittered_boxes, sparse_boxes
from leaven.errors import DataError
from leaven.labels import BoxLabels, Masks


def labelled(counts: tuple[int, ...], seed: int = 0) -> BoxLabels:
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    corner = torch.rand(total, 2, generator=generator) * 60
    side = torch.rand(total, 2, generator=generator) * 36 + 2
    boxes = torch.cat([corner, corner + side], 1)
    classes = torch.randint(0, 5, (total,), generator=generator)
    return BoxLabels.from_person(boxes.split(counts), classes.split(counts))


def test_a_share_of_each_picture_stays_and_one_at_least():
    labels = labelled((10, 0, 1, 3, 40))
    for share, wanted in (
        (0.5, [5, 0, 1, 2, 20]),
        (0.0, [1, 0, 1, 1, 1]),
        (1.0, [10, 0, 1, 3, 40]),
    ):
        kept = sparse_boxes(labels, share, seed=4)
        assert kept.counts.tolist() == wanted
        assert torch.equal(kept.known, labels.known)
        rows = (kept.boxes[:, None] == labels.boxes).all(2)
        assert (rows.sum(1) == 1).all()
        assert torch.equal(labels.pictures[rows.int().argmax(1)], kept.pictures)


def test_fewer_boxes_are_among_more_and_all_can_stay():
    labels = labelled((30, 8))
    few, many = sparse_boxes(labels, 0.2, seed=1), sparse_boxes(labels, 0.7, seed=1)
    assert (few.boxes[:, None] == many.boxes).all(2).any(1).all()
    stayed = torch.zeros(38, dtype=torch.bool)
    for seed in range(60):
        kept = sparse_boxes(labels, 0.2, seed).boxes
        stayed |= (labels.boxes[:, None] == kept).all(2).any(1)
    assert stayed.all()


def test_masks_go_with_their_boxes():
    dense = torch.zeros(4, 8, 8, dtype=torch.bool)
    for number in range(4):
        dense[number, number : number + 3, 1:5] = True
    masks = Masks.from_dense(dense)
    zeros = torch.zeros(4, dtype=torch.int64)
    labels = BoxLabels.from_person([masks.boxes()], [zeros], masks=masks)
    kept = sparse_boxes(labels, 0.5, seed=0)
    assert torch.equal(kept.masks.boxes(), kept.boxes) and len(kept.boxes) == 2


@pytest.mark.parametrize("least", [0.1, 0.5, 0.9, 1.0])
def test_loose_boxes_overlap_as_asked(least):
    labels = labelled((1500, 0, 1500))
    sizes = torch.full((3, 2), 1000.0)
    # Far from the edges of the picture, so that nothing is cut off.
    far = BoxLabels.from_person(
        (labels.boxes + 400).split([1500, 0, 1500]), labels.classes.split([1500, 0, 1500])
    )
    overlap = box_iou(
        far.boxes.double(), jittered_boxes(far, least, sizes, 3).boxes.double()
    ).diag()
    assert overlap.min() >= least - 1e-5
    # Uniform from the least overlap to 1.
    middle = (1 + least) / 2
    assert float(overlap.mean()) == pytest.approx(middle, abs=0.02)
    assert float(overlap.quantile(0.1)) == pytest.approx(1 - 0.9 * (1 - least), abs=0.03)


def test_loose_boxes_stay_in_the_picture_and_are_not_worse_for_it():
    labels = labelled((500, 500))
    sizes = torch.tensor([[96.0, 100.0], [98.0, 97.0]])
    inside = torch.minimum(labels.boxes, sizes.flip(1)[labels.pictures].repeat(1, 2))
    labels = BoxLabels.from_person(inside.split([500, 500]), labels.classes.split([500, 500]))
    loose = jittered_boxes(labels, 0.4, sizes, seed=0)
    assert loose.boxes.min() >= 0 and (loose.sides > 0).all()
    limit = sizes.flip(1)[labels.pictures]
    assert (loose.boxes[:, 2:] <= limit).all() and (loose.boxes[:, 2:] == limit).any()
    overlap = box_iou(labels.boxes.double(), loose.boxes.double()).diag()
    assert overlap.min() >= 0.4 - 1e-5
    assert torch.equal(loose.boxes, jittered_boxes(labels, 0.4, sizes, seed=0).boxes)
    assert not torch.equal(loose.boxes, jittered_boxes(labels, 0.4, sizes, seed=1).boxes)


def test_no_boxes_and_flat_ones_make_no_nan():
    empty = BoxLabels.nothing(2)
    assert jittered_boxes(empty, 0.5, torch.ones(2, 2), 0).boxes.shape == (0, 4)
    assert sparse_boxes(empty, 0.5, 0).counts.tolist() == [0, 0]
    flat = BoxLabels.from_person([torch.tensor([[3.0, 3, 3, 9]])], [torch.tensor([0])])
    assert jittered_boxes(flat, 0.5, torch.full((1, 2), 20.0), 0).boxes.isfinite().all()


def test_wrong_classes_at_a_rate():
    labels = labelled((4000,))
    for rate in (0.0, 0.3, 1.0):
        made = flipped_classes(labels, 5, rate, seed=2)
        wrong = made.classes != labels.classes
        assert float(wrong.float().mean()) == pytest.approx(rate, abs=0.03)
        assert made.classes.min() >= 0 and made.classes.max() <= 4
        assert torch.equal(made.boxes, labels.boxes)
    # All other classes alike.
    pairs = torch.bincount(labels.classes * 5 + made.classes, minlength=25).view(5, 5)
    share = pairs / pairs.sum(1, keepdim=True)
    assert not pairs.diag().any() and (share - 0.25 * (1 - torch.eye(5))).abs().max() < 0.06
    few = flipped_classes(labels, 5, 0.1, seed=2).classes
    many = flipped_classes(labels, 5, 0.4, seed=2).classes
    changed = few != labels.classes
    assert torch.equal(few[changed], many[changed])


def test_numbers_out_of_range_are_refused():
    labels = labelled((2,))
    with pytest.raises(DataError, match=r"1\.5"):
        sparse_boxes(labels, 1.5, 0)
    with pytest.raises(DataError, match=r"-0\.1"):
        flipped_classes(labels, 5, -0.1, 0)
    with pytest.raises(DataError, match="1 classes"):
        flipped_classes(labels, 1, 0.1, 0)
    for least in (0.0, 1.2):
        with pytest.raises(DataError, match="overlap"):
            jittered_boxes(labels, least, torch.ones(1, 2), 0)
    with pytest.raises(DataError, match=r"\(3, 2\) for 1"):
        jittered_boxes(labels, 0.5, torch.ones(3, 2), 0)
