"""What is estimated of the accuracy of pixels and boxes, and where it does not hold."""

import pytest
import torch

from leaven.job.pixel_stage import pixel_accuracy
from leaven.labels import PixelLabels
from leaven.quality import SegmentationMeter


def pictures(count: int, confidence: float, right: float, share: float, seed: int = 0):
    """Maps of 8x8 pixels: a share of each is said to be of class 1; confidence, and whether right."""
    generator = torch.Generator().manual_seed(seed)
    part = share + 0.1 * torch.rand(count, 1, 1, generator=generator)
    classes = (torch.rand(count, 8, 8, generator=generator) < part).long()
    hit = torch.rand(count, 8, 8, generator=generator) < right
    return classes, torch.full((count, 8, 8), confidence), torch.where(hit, classes, 1 - classes)


def labels_of(classes: torch.Tensor, confidence: torch.Tensor, least: float = 0.0) -> PixelLabels:
    weight = (confidence >= least).half()
    return PixelLabels.from_model(classes.to(torch.uint8), confidence.half(), weight)


@pytest.fixture
def judged() -> SegmentationMeter:
    meter = SegmentationMeter(2)
    classes, confidence, truth = pictures(60, 0.95, 0.8, 0.3)
    meter.add(classes, truth, confidence)
    return meter


def test_the_worth_of_confidence_and_where_it_may_lie(judged):
    classes, confidence, _ = pictures(80, 0.95, 0.8, 0.3, seed=1)
    found = pixel_accuracy(labels_of(classes, confidence), judged)
    assert found.by == "calibrated-confidence" and not found.shift.found
    assert found.accuracy == pytest.approx(0.8, abs=0.02)
    assert found.likely.low < found.accuracy < found.likely.high
    assert found.likely.high - found.likely.low < 0.12 and found.findings == []


def test_pictures_of_another_kind_are_found(judged):
    classes, confidence, _ = pictures(80, 0.95, 0.8, 0.7, seed=1)
    found = pixel_accuracy(labels_of(classes, confidence), judged)
    assert found.shift.found and found.likely is None
    assert [finding["code"] for finding in found.findings] == ["unlike-held-out"]


def test_few_pictures_leave_it_open():
    meter = SegmentationMeter(2)
    classes, confidence, truth = pictures(4, 0.95, 0.98, 0.3)
    meter.add(classes, truth, confidence)
    found = pixel_accuracy(labels_of(classes, confidence), meter)
    assert found.likely.low < 0.8
    (finding,) = found.findings
    assert finding["code"] == "few-held-out" and "4 held-out pictures" in finding["text"]


def test_without_held_out_pictures_or_accepted_pixels(judged):
    classes, confidence, _ = pictures(5, 0.9, 0.8, 0.3)
    alone = pixel_accuracy(labels_of(classes, confidence), None)
    assert alone.by == "confidence" and alone.accuracy == pytest.approx(0.9, abs=1e-3)
    assert alone.likely is None and alone.shift is None
    nothing = pixel_accuracy(labels_of(classes, confidence, least=2.0), judged)
    assert nothing.accuracy is None and nothing.by is None and nothing.shift is not None
