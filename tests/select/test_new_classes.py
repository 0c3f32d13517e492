"""Boxes of new classes, and the regions that must not be punished."""

from __future__ import annotations

import pytest
import torch

from leaven.labels import BoxLabels
from leaven.models.detection import Regions, best_overlap
from leaven.select import new_class_boxes, with_new_classes

NOVEL = torch.tensor([False, True, True])


def found(rows: list[tuple[int, int, float, float]], count: int = 4) -> BoxLabels:
    """Rows of (picture, class, score, left): boxes of 20 x 20 at the top."""
    boxes = torch.tensor([[left, 0.0, left + 20, 20.0] for _, _, _, left in rows]).view(-1, 4)
    return BoxLabels.from_model(
        boxes,
        torch.tensor([row[1] for row in rows], dtype=torch.int64),
        torch.tensor([row[2] for row in rows]),
        torch.bincount(torch.tensor([row[0] for row in rows], dtype=torch.int64), minlength=count),
    )


def given() -> BoxLabels:
    """Picture 0 has a shot of class 1, picture 1 base boxes alone, 2 nothing; 3 is not known."""
    one = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    none = torch.zeros(0, 4)
    boxes = [torch.cat([one, one + 40]), one, none, none]
    classes = [torch.tensor(rows, dtype=torch.int64) for rows in ([0, 1], [0], [], [])]
    return BoxLabels.from_person(
        boxes, classes, known=torch.tensor([True, True, True, False])
    )  # fmt: skip


def test_candidates_and_ignored_boxes() -> None:
    rows = [
        (0, 1, 0.9, 0.0), (0, 2, 0.9, 0.0), (0, 1, 0.1, 0.0), (1, 1, 0.8, 0.0),
        (1, 1, 0.79, 0.0), (1, 0, 0.9, 0.0), (3, 0, 0.9, 0.0), (3, 2, 0.9, 0.0), (3, 2, 0.1, 0.0),
    ]  # fmt: skip
    chosen = new_class_boxes(found(rows), given(), NOVEL)
    # Not of class 1 in picture 0, which has a shot of it; of class 2 it has none.
    assert chosen.candidates.nonzero()[:, 0].tolist() == [1, 3, 7]
    # Base boxes are ignored where nobody has looked.
    assert chosen.ignored.nonzero()[:, 0].tolist() == [4, 6, 8]


def test_low_scores_are_ignored_beside_a_high_one_of_their_class() -> None:
    rows = [
        (1, 1, 0.9, 0.0), (1, 1, 0.3, 30.0), (1, 2, 0.3, 60.0),
        (2, 1, 0.3, 0.0), (2, 2, 0.7, 30.0),
        (3, 0, 0.9, 0.0), (3, 0, 0.3, 30.0), (3, 1, 0.3, 60.0),
    ]  # fmt: skip
    chosen = new_class_boxes(found(rows), given(), NOVEL)
    assert chosen.candidates.nonzero()[:, 0].tolist() == [0]
    assert chosen.ignored.nonzero()[:, 0].tolist() == [1, 5, 6]


def test_labels_with_new_boxes_and_regions() -> None:
    pseudo = found([(1, 1, 0.9, 60.0), (3, 2, 0.9, 0.0)])
    # On the known box, on the new box (IoU 0.6), far from both, and in a picture without a new one.
    ignored = found(
        [
            (1, 1, 0.3, 0.0),
            (1, 1, 0.3, 65.0),
            (1, 1, 0.3, 100.0),
            (2, 1, 0.3, 0.0),
            (3, 0, 0.9, 30.0),
        ]
    )
    labels = with_new_classes(given(), pseudo, ignored)
    assert labels.known.tolist() == [True, True, True, True]
    assert labels.counts.tolist() == [2, 3, 0, 2]
    regions = labels.keep(labels.crowd)
    assert regions.boxes[:, 0].tolist() == [100.0, 30.0]
    things = labels.keep(~labels.crowd)
    assert (best_overlap(Regions(regions.boxes, regions.pictures), things) < 0.5).all()
    assert things.classes.tolist() == [0, 1, 0, 1, 2]


def test_nothing_new() -> None:
    nothing = found([])
    labels = with_new_classes(given(), nothing, nothing)
    assert torch.equal(labels.boxes, given().boxes) and torch.equal(labels.known, given().known)
    chosen = new_class_boxes(nothing, given(), NOVEL)
    assert len(chosen.candidates) == len(chosen.ignored) == 0


def test_rows_of_the_same_pictures_are_combined() -> None:
    first, second = found([(0, 1, 0.9, 0.0), (2, 1, 0.8, 5.0)]), found([(0, 2, 0.7, 9.0)])
    both = BoxLabels.combined([first, second])
    assert both.pictures.tolist() == [0, 0, 2] and both.classes.tolist() == [1, 2, 1]
    assert both.counts.tolist() == [2, 0, 1, 0]
    with pytest.raises(ValueError, match=r"\[4, 3\] pictures"):
        BoxLabels.combined([first, found([], 3)])
