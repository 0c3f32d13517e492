"""What a run promises: which labels are kept for each task, and what is said of it."""

import dataclasses

import pytest
import torch

import leaven
from leaven.data import ImageSet, MemoryPixels
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import ConfigError, DataError
from leaven.job.config import RunConfig
from leaven.job.promises import (
    Asked,
    calibration_of,
    check_promise,
    promised_boxes,
    promised_classes,
    promised_pixels,
)
from leaven.labels import BoxLabels, ClassLabels, PixelLabels

NAMES = ("cat", "dog")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(labels):
    count = len(labels)
    pixels = MemoryPixels(torch.zeros(count, 1, 8, 8, dtype=torch.uint8))
    return ImageSet(pixels, labels, labels, [str(number) for number in range(count)])


def class_labels(count, seed, share=0.6):
    """Labels that are wrong where they are unsure, and the truth."""
    generator = seeded(seed)
    truth = torch.randint(0, 2, (count,), generator=generator)
    confidence = torch.rand(count, generator=generator)
    wrong = torch.rand(count, generator=generator) < share * (1 - confidence) ** 2
    classes = torch.where(wrong, 1 - truth, truth)
    labels = ClassLabels.from_probs(torch.full((count, 2), 0.5))
    return dataclasses.replace(labels, classes=classes, confidence=confidence), truth


def of_classes(asked, held_out=500):
    held, known = class_labels(held_out, 1)
    labels, truth = class_labels(400, 2)
    return labels, truth, promised_classes(labels, held, pictures(known), truth, NAMES, asked)


def test_labels_inside_of_the_promise_have_weight_one_and_others_none():
    labels, truth, (kept, promised) = of_classes(Asked(0.9, 0.95))
    summary = promised.summary
    assert promised.promise.held
    assert set(kept.weight.tolist()) == {0.0, 1.0}
    assert torch.equal(kept.accepted, labels.confidence >= promised.promise.threshold)
    assert summary["kept"] + summary["needs_person"] == summary["labels"] == 400
    assert summary["kept"] == int(kept.accepted.sum())
    assert summary["accuracy"] == pytest.approx(kept.accuracy(truth))
    assert summary["accuracy"] > labels.accuracy(truth)
    assert promised.finding["code"] == "promise-held"
    assert promised.finding["level"] == "info"
    assert "500 held-out labels" in summary["text"]


def test_the_table_is_of_the_usual_targets():
    _, _, (_, promised) = of_classes(Asked(0.9, 0.95))
    table = promised.summary["table"]
    assert [row["target"] for row in table] == [0.9, 0.95, 0.98, 0.99]
    shares = [row["kept_share"] for row in table]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == promised.summary["kept_share"]


def test_what_cannot_be_held_is_said_with_what_it_takes():
    _, _, (kept, promised) = of_classes(Asked(0.98, 0.95), held_out=40)
    assert not promised.promise.held
    assert not kept.accepted.any()
    assert promised.finding["level"] == "warning"
    assert promised.finding["code"] == "promise-not-held"
    text = promised.summary["text"]
    assert "98 % at 95 % confidence" in text
    assert "needs at least 149 held-out labels; there are 40" in text
    assert promised.summary["needs_person"] == 400


def test_each_class_may_be_promised_by_itself():
    labels, _, (kept, promised) = of_classes(Asked(0.8, 0.95, by_class=True), held_out=900)
    each = promised.summary["per_class"]
    assert [row["class"] for row in each] == list(NAMES)
    assert all(row["held"] for row in each)
    for place, row in enumerate(each):
        mine = labels.classes == place
        assert torch.equal(kept.accepted[mine], labels.confidence[mine] >= row["threshold"])
    assert "2 of 2 classes" in promised.summary["text"]


def test_nothing_to_label_is_nothing_to_promise():
    held, known = class_labels(300, 1)
    none, truth = class_labels(0, 2)
    _, promised = promised_classes(none, held, pictures(known), truth, NAMES, Asked(0.9, 0.95))
    assert not promised.promise.held
    assert "nothing to promise" in promised.summary["text"]


def test_items_without_a_class_are_never_kept():
    held, known = class_labels(300, 1, share=0.0)
    labels, truth = class_labels(50, 2, share=0.0)
    unknown = torch.arange(50) < 10
    labels = dataclasses.replace(labels, classes=torch.where(unknown, -1, labels.classes))
    kept, promised = promised_classes(labels, held, pictures(known), truth, NAMES, Asked(0.9, 0.95))
    assert promised.promise.held
    assert torch.equal(kept.accepted, ~unknown)
    assert promised.summary["needs_person"] == 10


def test_a_round_after_corrections_says_what_it_cannot_prove():
    promised = of_classes(Asked(0.9, 0.95))[2][1].after_corrections()
    assert "corrected" in promised.summary["text"]
    assert promised.promise.held


def sure_labels(count, seed, spread):
    """Labels by probabilities that lie about a half, or not."""
    logits = torch.randn(count, 2, generator=seeded(seed)) * spread
    probs = logits.softmax(1)
    return ClassLabels.from_probs(probs), probs.argmax(1)


def test_held_out_items_that_are_unlike_the_others_are_said():
    held, known = sure_labels(300, 1, spread=3.0)
    for spread, found in ((3.0, False), (0.3, True)):
        labels, truth = sure_labels(300, 2, spread)
        asked = Asked(0.9, 0.95)
        _, promised = promised_classes(labels, held, pictures(known), truth, NAMES, asked)
        assert promised.promise.held
        assert promised.summary["shift"]["found"] is found
        assert bool(promised.summary["warning"]) is found
        assert promised.finding["level"] == ("warning" if found else "info")
        assert ("lies far from" in promised.finding["text"]) is found
        assert promised.after_corrections().summary["warning"] == ""


def test_a_promise_that_is_not_held_needs_no_warning():
    held, known = sure_labels(20, 1, spread=3.0)
    labels, truth = sure_labels(300, 2, spread=0.3)
    _, promised = promised_classes(labels, held, pictures(known), truth, NAMES, Asked(0.99, 0.95))
    assert not promised.promise.held and promised.summary["warning"] == ""


def box_labels(count, seed):
    """Two boxes in each picture, the surer one right, and the truth."""
    scores = torch.rand(count, 2, generator=seeded(seed)) * 0.5
    scores[:, 0] += 0.5
    place = torch.tensor([[0.0, 0, 4, 4], [4, 4, 8, 8]]).repeat(count, 1)
    labels = BoxLabels.from_model(
        place,
        torch.zeros(2 * count, dtype=torch.int64),
        scores.flatten(),
        torch.full((count,), 2),
    )
    truth = BoxLabels.from_person(
        [torch.tensor([[0.0, 0, 4, 4]])] * count, [torch.tensor([0])] * count
    )
    return labels, truth


@pytest.mark.parametrize("by_class", [False, True])
def test_boxes_are_kept_while_they_have_the_place_of_a_thing(by_class):
    held, known = box_labels(120, 1)
    labels, truth = box_labels(200, 2)
    kept, promised = promised_boxes(
        labels, held, pictures(known), truth, NAMES, Asked(0.9, 0.95, by_class), masks=False
    )
    assert promised.promise.held
    assert promised.summary["unit"] == "boxes"
    assert promised.summary["held_out"] == 120
    assert 180 < int(kept.accepted.sum()) < 225
    assert promised.summary["accuracy"] >= 0.9
    assert promised.summary["per_class"][0]["held"]
    assert not promised.summary["per_class"][1]["held"]
    assert "120 held-out pictures" in promised.summary["text"]
    assert not promised.summary["shift"]["found"] and promised.summary["warning"] == ""
    low = dataclasses.replace(labels, confidence=labels.confidence * 0.9)
    _, other = promised_boxes(
        low, held, pictures(known), truth, NAMES, Asked(0.9, 0.95, by_class), masks=False
    )
    assert other.summary["shift"]["found"]


def test_a_box_on_a_crowd_is_not_counted():
    held, known = box_labels(120, 1)
    crowd = BoxLabels.from_person(
        [torch.tensor([[0.0, 0, 4, 4], [4, 4, 8, 8]])] * 120,
        [torch.tensor([0, 0])] * 120,
        crowd=[torch.tensor([False, True])] * 120,
    )
    labels, truth = box_labels(200, 2)
    assert len(known) == len(crowd)
    kept, _ = promised_boxes(
        labels, held, pictures(crowd), truth, NAMES, Asked(0.9, 0.95), masks=False
    )
    assert kept.accepted.all()


def pixel_labels(count, seed):
    generator = seeded(seed)
    confidence = torch.rand(count, 8, 8, generator=generator).half()
    truth = torch.randint(0, 2, (count, 8, 8), generator=generator).to(torch.uint8)
    wrong = torch.rand(count, 8, 8, generator=generator) < 0.4 * (1 - confidence.float()) ** 2
    truth_void = truth.clone()
    truth_void[:, 0] = 255
    classes = torch.where(wrong, 1 - truth, truth)
    weight = torch.ones_like(confidence)
    return PixelLabels.from_model(classes, confidence, weight), PixelMaps.from_tensor(truth_void)


@pytest.mark.parametrize("by_class", [False, True])
def test_pixels_are_kept_by_their_confidence(by_class):
    held, known = pixel_labels(150, 1)
    labels, truth = pixel_labels(100, 2)
    kept, promised = promised_pixels(
        labels, held, pictures(known), truth, NAMES, Asked(0.8, 0.9, by_class)
    )
    summary = promised.summary
    assert summary["unit"] == "pixels"
    assert summary["held"]
    assert summary["kept"] == int(kept.accepted.sum())
    assert summary["labels"] == 100 * 64
    assert summary["accuracy"] >= 0.8
    assert len(summary["per_class"]) == (2 if by_class else 0)
    assert 0 < summary["in_expectation"]["kept_share"] <= 1
    assert not summary["shift"]["found"] and summary["warning"] == ""
    low = dataclasses.replace(labels, confidence=labels.confidence * 0.8)
    _, other = promised_pixels(low, held, pictures(known), truth, NAMES, Asked(0.8, 0.9, by_class))
    assert other.summary["shift"]["found"]


@pytest.mark.parametrize("value", [0, 1.0, 1.5, -0.2, "all"])
@pytest.mark.parametrize("name", ["promise", "confidence"])
def test_shares_are_checked(name, value):
    with pytest.raises(ConfigError, match=name):
        RunConfig.make(**{name: value})


def test_calibration_needs_a_promise():
    for options in ({"calibration": 100}, {"promise_per_class": True}):
        with pytest.raises(ConfigError, match="without a promise"):
            check_promise(RunConfig.make(**options))
        check_promise(RunConfig.make(promise=0.9, **options))
    with pytest.raises(ConfigError, match="calibration"):
        RunConfig.make(promise=0.9, calibration=0)


def test_how_many_are_held_out():
    assert calibration_of(RunConfig.make()) is None
    given = calibration_of(RunConfig.make(promise=0.9, calibration=77))
    assert (given.count, given.at_most) == (77, None)
    usual = calibration_of(RunConfig.make(promise=0.98))
    assert 300 < usual.count < 900
    assert usual.at_most == pytest.approx(1 / 3)


@pytest.mark.parametrize("by_class", [False, True])
def test_pixels_beside_a_picture_are_not_promised(by_class):
    held, known = pixel_labels(150, 1)
    labels, truth = pixel_labels(100, 2)
    half = torch.tensor([[8, 4]]).expand(100, 2)
    labels = dataclasses.replace(labels, extents=half)
    kept, promised = promised_pixels(
        labels, held, pictures(known), truth, NAMES, Asked(0.8, 0.9, by_class)
    )
    summary = promised.summary
    assert summary["labels"] == 100 * 32
    assert summary["kept"] == int(kept.accepted.sum())
    assert summary["kept"] + summary["needs_person"] == 100 * 32
    assert not kept.weight[:, :, 4:].any()
    assert 0 < summary["in_expectation"]["kept_share"] <= 1


def test_a_promise_that_no_model_could_keep_is_refused_before_the_training(tmp_path):
    with pytest.raises(DataError) as raised:
        leaven.run("digits", labels_per_class=8, promise=0.9, calibration=20, out=tmp_path / "run")
    assert "20 labels are held out for the promise of 90 %" in str(raised.value)
    assert " or more, for even without one wrong label" in str(raised.value)
