import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from leaven.labels import BoxLabels, Masks
from leaven.quality.detection import AREAS, detection_scores, match_boxes, said_of_boxes

K = 3


def scene(seed, pictures=12, crowds=True, with_masks=False, scores=None):
    """Truths, and predictions near some of them, with crowds, empty pictures and equal scores."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator)

    counts = torch.randint(0, 9, (pictures,), generator=generator)
    counts[0], total = 0, int(counts[1:].sum())
    corner, sides = draw(total, 2) * 150, 4 + draw(total, 2).square() * 140
    boxes = torch.cat([corner, corner + sides], 1).round()
    classes = torch.randint(0, K, (total,), generator=generator)
    masks = drawn(boxes, generator) if with_masks else None
    truth = BoxLabels.from_model(boxes, classes, torch.ones(total), counts, masks)
    if crowds:
        truth = replace(truth, crowd=draw(total) < 0.15)

    near = boxes + (draw(total, 4) - 0.5) * sides.repeat(1, 2) * draw(total, 1) * 0.5
    near[:, 2:] = torch.maximum(near[:, 2:], near[:, :2] + 1)
    order = torch.cat([torch.arange(total), torch.arange(total)[draw(total) < 0.5]])
    order = order.sort().values
    found = truth.pictures[order]
    said = torch.where(draw(len(order)) < 0.8, classes[order], 0)
    confidence = (draw(len(order)) * (scores or 1000)).ceil() / (scores or 1000)
    near = near[order] + draw(len(order), 1) * 3
    masks = drawn(near, generator) if with_masks else None
    counts = torch.bincount(found, minlength=pictures)
    return BoxLabels.from_model(near, said, confidence, counts, masks), truth


def drawn(boxes, generator):
    """A rectangle with holes for each box, in a picture of 300 x 300."""
    at = torch.arange(300)
    inside = [(at >= boxes[:, i, None]) & (at < boxes[:, i + 2, None]) for i in (0, 1)]
    shape = inside[1][:, :, None] & inside[0][:, None, :]
    return Masks.from_dense(shape & (torch.rand(shape.shape, generator=generator) < 0.9))


def pycocotools(predictions, truth, masks):
    """COCOeval after ``accumulate``, without a word on the screen."""

    def rows(labels):
        xywh = torch.cat([labels.boxes[:, :2], labels.sides], 1).double().tolist()
        runs = labels.masks.coco() if masks else [None] * len(xywh)
        pictures = labels.pictures.tolist()
        for i, box in enumerate(xywh):
            row = {"id": i + 1, "image_id": pictures[i], "category_id": int(labels.classes[i])}
            row |= {"bbox": box, "area": box[2] * box[3], "iscrowd": int(labels.crowd[i])}
            if masks:
                row |= {"segmentation": runs[i], "area": int(labels.masks.area()[i])}
            yield row | {"score": float(labels.confidence[i])}

    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for labels in (truth, predictions):
            side = COCO()
            side.dataset = {
                "images": [{"id": i, "height": 300, "width": 300} for i in range(len(labels))],
                "categories": [{"id": k} for k in range(K)],
                "annotations": list(rows(labels)),
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "segm" if masks else "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def absent(values):
    return np.where(values < 0, np.nan, values)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("scores", [None, 4])
@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_those_of_pycocotools(seed, scores, masks):
    predictions, truth = scene(seed, with_masks=masks, scores=scores)
    ours = detection_scores(predictions, truth, K, masks)
    theirs = pycocotools(predictions, truth, masks)
    ap = absent(theirs.eval["precision"].mean(1)[..., -1])
    np.testing.assert_allclose(ours.ap.numpy(), ap, atol=1e-12)
    np.testing.assert_allclose(
        ours.recall.numpy(), absent(theirs.eval["recall"][..., -1]), atol=1e-12
    )
    names = ["map", "map50", "map75", *(f"map_{a}" for a in AREAS[1:])]
    expected = [*theirs.stats[:6], theirs.stats[8]]
    figures = ours.metrics()
    assert [figures.get(name, -1) for name in [*names, "ar100"]] == pytest.approx(expected)
    assert 0.02 < figures["map"] < 0.95


def test_more_than_a_hundred_predictions_and_equal_boxes():
    predictions, truth = scene(3)
    many = BoxLabels.joined([predictions.select(torch.tensor([5] * 40))])
    rows = BoxLabels.from_model(
        many.boxes, many.classes, many.confidence, torch.tensor([len(many.boxes)])
    )
    truth = truth.select(torch.tensor([5]))
    assert int(torch.bincount(rows.classes).max()) > 100
    ours = detection_scores(rows, truth, K)
    theirs = pycocotools(rows, truth, False)
    np.testing.assert_allclose(
        ours.ap.numpy(), absent(theirs.eval["precision"].mean(1)[..., -1]), atol=1e-12
    )


def labels(boxes, classes=None, confidence=None, counts=None, crowd=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    n = len(boxes)
    made = BoxLabels.from_model(
        boxes,
        torch.tensor(classes or [0] * n, dtype=torch.int64),
        torch.tensor(confidence or [1.0] * n),
        torch.tensor([n] if counts is None else counts),
    )
    return made if crowd is None else replace(made, crowd=torch.tensor(crowd))


def test_closed_forms():
    truth = labels([[0, 0, 10, 10], [20, 0, 30, 10]])
    scores = detection_scores(truth, truth, 1)
    assert scores.metrics() == pytest.approx(
        {"map": 1, "map50": 1, "map75": 1, "map_small": 1, "ar100": 1}
    )
    # One of two found first: precision 1 up to recall 1/2, that is at 51 of 101 levels.
    half = detection_scores(labels([[0, 0, 10, 10]]), truth, 1)
    assert half.metrics()["map50"] == pytest.approx(51 / 101)
    assert half.metrics()["ar100"] == pytest.approx(0.5)
    # IoU 0.6 counts at 0.5, 0.55 and 0.6, three of ten thresholds.
    loose = detection_scores(labels([[0, 0, 10, 6]]), labels([[0, 0, 10, 10]]), 1)
    assert loose.metrics()["map"] == pytest.approx(0.3)


def test_nothing_predicted_and_classes_without_a_truth():
    truth = labels([[0, 0, 10, 10]], classes=[1])
    scores = detection_scores(labels([], counts=[0]), truth, 3)
    assert scores.metrics()["map"] == 0
    assert scores.per_class()["ap"].isnan().tolist() == [True, False, True]
    other = detection_scores(labels([[0, 0, 10, 10]], classes=[0]), truth, 3)
    assert other.metrics()["map"] == 0


def test_what_cannot_be_judged_is_refused():
    empty = labels([], counts=[0])
    with pytest.raises(ValueError, match="at least one true thing"):
        detection_scores(labels([[0, 0, 1, 1]]), empty, 1)
    with pytest.raises(ValueError, match="2 predicted pictures, 1 true"):
        detection_scores(labels([], counts=[0, 0]), empty, 1)
    with pytest.raises(ValueError, match="class 4 of 2"):
        detection_scores(labels([[0, 0, 1, 1]], classes=[4]), empty, 2)
    box = labels([[0, 0, 1, 1]])
    with pytest.raises(ValueError, match="boxes alone"):
        detection_scores(box, box, 1, masks=True)
    small, large = (
        replace(box, masks=Masks.from_dense(torch.ones(1, side, side).bool())) for side in (3, 4)
    )
    with pytest.raises(ValueError, match="differ in size"):
        detection_scores(small, large, 1, masks=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_matches_equal_those_of_pycocotools(seed, iou):
    predictions, truth = scene(seed)
    matches = match_boxes(predictions, truth, K, iou)
    theirs = pycocotools(predictions, truth, False)
    at = int(np.flatnonzero(np.isclose(theirs.params.iouThrs, iou))[0])
    expected, judged = (
        torch.full((len(predictions.boxes),), -1),
        torch.ones(len(predictions.boxes), dtype=torch.bool),
    )
    for cell in theirs.evalImgs:
        if cell is not None and cell["aRng"] == theirs.params.areaRng[0]:
            rows = torch.tensor(cell["dtIds"], dtype=torch.int64) - 1
            expected[rows] = torch.tensor(cell["dtMatches"][at]).long() - 1
            judged[rows] = ~torch.tensor(cell["dtIgnore"][at], dtype=torch.bool)
    assert torch.equal(matches.truth, expected)
    assert torch.equal(matches.judged, judged)
    figures = matches.metrics()
    wanted = int((~truth.crowd).sum())
    assert figures["recall"] == pytest.approx(int(matches.right.sum()) / wanted)
    rows = matches.right.nonzero().squeeze(1)
    a, b = predictions.boxes[rows], truth.boxes[matches.truth[rows]]
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).prod(1)
    union = predictions.sides[rows].prod(1) + truth.sides[matches.truth[rows]].prod(1) - sides
    torch.testing.assert_close(matches.iou[rows].float(), sides / union)
    assert float(matches.iou[rows].min()) >= iou


def test_a_match_by_hand():
    truth = labels([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 60, 20]], crowd=[False, False, True])
    said = labels(
        [[0, 0, 10, 9], [0, 0, 10, 10], [41, 1, 50, 10], [80, 80, 90, 90]],
        confidence=[0.9, 0.8, 0.7, 0.6],
    )
    matches = match_boxes(said, truth, 1)
    assert matches.truth.tolist() == [0, -1, 2, -1]
    assert matches.judged.tolist() == [True, True, False, True]
    assert matches.missed.tolist() == [False, True, False]
    assert matches.metrics() == pytest.approx({"precision": 1 / 3, "recall": 0.5, "mean_iou": 0.9})


def test_pictures_of_unknown_truth_are_not_judged():
    truth = labels([[0, 0, 10, 10]], counts=[0, 1])
    truth = replace(truth, known=torch.tensor([False, True]))
    said = labels([[0, 0, 10, 10], [0, 0, 10, 10]], counts=[1, 1])
    matches = match_boxes(said, truth, 1)
    assert matches.truth.tolist() == [-1, 0]
    assert matches.judged.tolist() == [False, True]
    assert matches.metrics() == {"precision": 1, "recall": 1, "mean_iou": 1}
    assert detection_scores(said, truth, 1).metrics()["map"] == pytest.approx(1)
    nobody = match_boxes(BoxLabels.nothing(2), BoxLabels.nothing(2), 1)
    assert all(value != value for value in nobody.metrics().values())


def test_masks_of_a_large_set_have_areas():
    squares = torch.ones(300, 6, 5, dtype=torch.bool)
    masks = Masks.from_dense(squares)
    truth = replace(labels([[0, 0, 5, 6]] * 300), masks=masks)
    assert detection_scores(truth, truth, 1, masks=True).metrics()["ar100"] == pytest.approx(1 / 3)


def test_what_is_found_in_each_picture():
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(4, 1)
    confidence = torch.tensor([0.9, 0.5, 0.7, 0.1])
    counts = torch.tensor([3, 0, 1])
    found = BoxLabels.from_model(boxes, torch.tensor([1, 1, 0, 2]), confidence, counts)
    said = said_of_boxes(found, K, 0.5)
    expected = torch.tensor([[1, 2, 0, 0.7], [0, 0, 0, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(said, expected)
    nothing = BoxLabels.from_model(boxes[:0], counts[:0], confidence[:0], counts[:0])
    assert said_of_boxes(nothing, K, 0.5).shape == (0, K + 1)
