import numpy as np
import pytest
import torch
from scipy import ndimage

from leaven.labels import BoxLabels, Masks
from leaven.quality.instances import InstanceMeter, overlaps, paint


def figures(predicted, truth, num_classes=1, **others):
    meter = InstanceMeter(num_classes)
    meter.add(torch.as_tensor(predicted), torch.as_tensor(truth), **others)
    return meter.metrics()


def blobs(seed, side=60, level=0.3):
    """A map of irregular things."""
    noise = np.random.default_rng(seed).normal(size=(side, side))
    things, _ = ndimage.label(ndimage.gaussian_filter(noise, 2) > level * 0.14)
    return torch.from_numpy(things).long()


def shifted(numbers, by):
    return torch.roll(numbers, (by, by), (0, 1))


def slow(predicted, truth):
    """AJI, PQ and object Dice by loops over sets of pixels, as the papers write them."""
    sets = [
        [set(np.flatnonzero((m == k).numpy().reshape(-1))) for k in m.unique().tolist() if k]
        for m in (predicted, truth)
    ]
    said, actual = sets
    above = below = 0
    used = set()
    for g in actual:
        ious = [len(g & p) / len(g | p) for p in said]
        j = int(np.argmax(ious))
        if ious[j] == 0:
            below += len(g)
            continue
        above, below = above + len(g & said[j]), below + len(g | said[j])
        used.add(j)
    below += sum(len(p) for j, p in enumerate(said) if j not in used)
    pairs = [len(g & p) / len(g | p) for g in actual for p in said]
    pairs = [iou for iou in pairs if iou > 0.5]
    wrong = len(said) + len(actual) - 2 * len(pairs)

    def half(ones, others):
        total = 0.0
        for a in ones:
            b = others[int(np.argmax([len(a & other) for other in others]))]
            total += len(a) * 2 * len(a & b) / (len(a) + len(b))
        return total / sum(map(len, ones))

    return {
        "aji": above / below,
        "pq": sum(pairs) / (len(pairs) + wrong / 2),
        "dice": (half(actual, said) + half(said, actual)) / 2,
    }


@pytest.mark.parametrize("seed", range(6))
def test_figures_equal_a_slow_reference(seed):
    truth = blobs(seed)
    predicted = shifted(blobs(seed, level=0.2 + 0.04 * seed), seed % 2)
    found = figures(predicted, truth)
    expected = slow(predicted, truth)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert 0.1 < found["aji"] < 1 and 0.1 < found["pq"] < 1


def test_a_perfect_prediction_under_other_numbers():
    truth = blobs(1)
    numbers = torch.cat([torch.tensor([0]), torch.randperm(int(truth.max())) + 1])
    found = figures(numbers[truth], truth)
    assert found == pytest.approx(dict.fromkeys(["pq", "sq", "rq", "f1", "aji", "dice"], 1.0))


def test_closed_forms():
    truth, predicted = torch.zeros(10, 20).long(), torch.zeros(10, 20).long()
    truth[:, :10], truth[:4, 12:17] = 1, 2  # 100 and 20 pixels
    predicted[:, :8], predicted[8:, 18:] = 1, 2  # 80 of the first, and 4 beside the second
    found = figures(predicted, truth)
    assert found["aji"] == pytest.approx(80 / (100 + 20 + 4))
    assert found["sq"] == pytest.approx(0.8)
    assert found["rq"] == found["f1"] == pytest.approx(0.5)
    assert found["pq"] == pytest.approx(0.4)
    dice = 2 * 80 / 180
    assert found["dice"] == pytest.approx((dice * 100 / 120 + dice * 80 / 84) / 2)


def test_one_prediction_over_two_things_is_chosen_by_both():
    truth = torch.tensor([[1, 1, 1, 2, 2, 0]])
    found = figures(torch.tensor([[1, 1, 1, 1, 1, 0]]), truth)
    assert found["aji"] == pytest.approx(5 / (5 + 5))
    assert found["pq"] == pytest.approx(0.6 / 1.5)


def test_empty_pictures():
    empty, thing = torch.zeros(4, 4).long(), torch.ones(4, 4).long()
    assert figures(empty, empty) == {}
    for one, other in ((thing, empty), (empty, thing)):
        assert figures(one, other) == {"pq": 0, "rq": 0, "f1": 0, "aji": 0, "dice": 0}
    meter = InstanceMeter()
    meter.add(thing, thing)
    meter.add(empty, empty)
    assert meter.metrics()["aji"] == 1


def test_classes_must_be_equal_for_a_match_and_absent_ones_are_left_out():
    truth = torch.tensor([[1, 1, 0, 2, 2]])
    classes = {"predicted_classes": torch.tensor([0, 0]), "truth_classes": torch.tensor([0, 2])}
    meter = InstanceMeter(4)
    meter.add(truth, truth, **classes)
    pq = meter.per_class()["pq"]
    assert pq[0] == pytest.approx(1 / 1.5) and pq[2] == 0
    assert pq.isnan().tolist() == [False, True, False, True]
    found = meter.metrics()
    assert found["pq"] == pytest.approx(1 / 3) and found["f1"] == 0.5 and found["aji"] == 1


def test_unclear_pixels_are_not_judged():
    truth = torch.tensor([[1, 1, 0, 0, 0, 0]])
    predicted = torch.tensor([[1, 1, 1, 0, 2, 2]])
    unclear = torch.tensor([[0, 0, 1, 0, 1, 1]]).bool()
    assert figures(predicted, truth, unclear=unclear)["pq"] == 1
    assert figures(predicted, truth, unclear=unclear)["aji"] == 1
    # Less than half of the second thing is unclear: it counts, by what is clear of it.
    half = torch.tensor([[0, 0, 1, 0, 0, 1]]).bool()
    assert figures(predicted, truth, unclear=half)["pq"] == pytest.approx(1 / 1.5)
    assert figures(predicted, truth, unclear=half)["aji"] == pytest.approx(2 / 3)


def test_paint_puts_the_surest_on_top():
    dense = torch.zeros(3, 1, 4, dtype=torch.bool)
    dense[0, 0, :3], dense[1, 0, 1:], dense[2, 0, 2:] = True, True, True
    masks = Masks.from_dense(dense)
    assert paint(masks, torch.tensor([0.5, 0.9, 0.1]), 1, 4).tolist() == [[1, 2, 2, 2]]
    assert paint(masks, torch.tensor([0.5, 0.2, 0.9]), 1, 4).tolist() == [[1, 1, 3, 3]]
    assert paint(masks, torch.ones(3), 1, 4).tolist() == [[1, 1, 1, 2]]
    assert paint(Masks.from_dense(dense[:0]), torch.zeros(0), 2, 3).tolist() == [[0] * 3] * 2


def test_many_masks_are_painted_like_one_by_one():
    dense = torch.rand(150, 9, 8, generator=torch.Generator().manual_seed(0)) < 0.05
    order = torch.rand(150, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(9, 8).long()
    for row in order.argsort().tolist():
        expected[dense[row]] = row + 1
    assert torch.equal(paint(Masks.from_dense(dense), order, 9, 8), expected)


def test_overlaps_count_pixels():
    truth, predicted = torch.tensor([[0, 1, 1, 2]]), torch.tensor([[3, 3, 0, 1]])
    shared, area_true, area = overlaps(truth, predicted, 2, 3)
    assert shared.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert area_true.tolist() == [2, 1] and area.tolist() == [1, 0, 2]


def labels(maps, crowd=None):
    found = [Masks.from_map(one)[0] for one in maps]
    boxes = [masks.boxes() for masks in found]
    classes = [torch.zeros(len(masks), dtype=torch.int64) for masks in found]
    return BoxLabels.from_person(boxes, classes, masks=Masks.joined(found), crowd=crowd)


def test_labels_with_masks_count_like_their_maps():
    maps = [blobs(seed) for seed in range(3)]
    other = [shifted(one, 1) for one in maps]
    by_map, by_labels = InstanceMeter(), InstanceMeter()
    for predicted, truth in zip(other, maps, strict=True):
        by_map.add(predicted, truth)
    by_labels.add_labels(labels(other), labels(maps))
    assert by_labels.metrics() == by_map.metrics()


def test_crowds_and_unknown_pictures_are_not_judged():
    truth = torch.tensor([[1, 1, 0, 2, 2, 2]])
    with_crowd = labels([truth, truth], crowd=[torch.tensor([False, True])] * 2)
    with_crowd.known[1] = False
    meter = InstanceMeter()
    meter.add_labels(labels([truth, truth * 0]), with_crowd)
    assert meter.metrics()["f1"] == meter.metrics()["aji"] == 1


def test_bad_input_is_refused():
    one = torch.ones(2, 2).long()
    with pytest.raises(ValueError, match="predicted map"):
        figures(one, torch.ones(2, 3).long())
    with pytest.raises(ValueError, match="thing 1 of a map with 0 classes"):
        figures(one, one, predicted_classes=torch.zeros(0).long())
    with pytest.raises(ValueError, match=r"classes \[1\] of 1"):
        figures(one, one, truth_classes=torch.tensor([1]))
    with pytest.raises(ValueError, match="positive"):
        InstanceMeter(0)
    boxes = BoxLabels.from_person([torch.zeros(1, 4)], [torch.zeros(1).long()])
    with pytest.raises(ValueError, match="boxes alone"):
        InstanceMeter().add_labels(boxes, boxes)
    with pytest.raises(ValueError, match="differ in size"):
        InstanceMeter().add_labels(labels([one]), labels([torch.ones(3, 3).long()]))
    with pytest.raises(ValueError, match="2 predicted pictures"):
        InstanceMeter().add_labels(labels([one, one]), labels([one]))
