import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, recall_score

from leaven.quality.calibration import reliability
from leaven.quality.confidence import ConfidenceBins
from leaven.quality.metrics import confusion
from leaven.quality.segmentation import (
    SegmentationMeter,
    border_band,
    iou_per_class,
    said_of_maps,
    segmentation_metrics,
)

K = 5


def maps(seed, batch=4, height=23, width=31, num_classes=K):
    """Blocky truths with unknown pixels, and predictions that are right more often than not."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, num_classes, (batch, 1, 5, 6), generator=draws).float()
    truth = torch.nn.functional.interpolate(coarse, (height, width))[:, 0].long()
    other = torch.randint(0, num_classes, truth.shape, generator=draws)
    predicted = torch.where(torch.rand(truth.shape, generator=draws) < 0.7, truth, other)
    truth[torch.rand(truth.shape, generator=draws) < 0.1] = -1
    return predicted, truth


def test_figures_equal_those_of_scikit_learn():
    meter = SegmentationMeter(K)
    batches = [maps(seed) for seed in range(3)]
    for predicted, truth in batches:
        meter.add(predicted, truth)
    predicted, truth = (torch.cat([b[i].flatten() for b in batches]) for i in (0, 1))
    known = truth >= 0
    said, actual = predicted[known].numpy(), truth[known].numpy()
    assert np.array_equal(meter.counts.numpy(), confusion_matrix(actual, said))
    found, iou = meter.metrics(), jaccard_score(actual, said, average=None)
    assert found["miou"] == pytest.approx(iou.mean())
    assert found["pixel_accuracy"] == pytest.approx((said == actual).mean())
    assert found["mean_accuracy"] == pytest.approx(recall_score(actual, said, average="macro"))
    assert found["dice"] == pytest.approx(f1_score(actual, said, average="macro"))
    weighted = jaccard_score(actual, said, average="weighted")
    assert found["frequency_weighted_iou"] == pytest.approx(weighted)
    assert meter.per_class()["iou"].numpy() == pytest.approx(iou)


def test_absent_classes_have_no_figure_and_are_left_out_of_the_mean():
    truth = torch.tensor([[[0, 0, 1, 1]]])
    meter = SegmentationMeter(4, border=0)
    meter.add(torch.tensor([[[0, 0, 1, 3]]]), truth)
    iou = meter.per_class()["iou"]
    assert iou.isnan().tolist() == [False, False, True, False]
    # Class 3 was said and is not there: 0. Class 2 is in neither: left out.
    assert meter.metrics()["miou"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert meter.metrics()["mean_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert "border_miou" not in meter.metrics()


def test_pixels_without_truth_or_prediction_do_not_count():
    meter = SegmentationMeter(2)
    meter.add(torch.tensor([[[0, 1, -1, 1]]]), torch.tensor([[[0, -1, 1, 1]]]))
    assert meter.counts.tolist() == [[1, 0], [0, 1]]
    meter.add(torch.zeros(0, 4, 4).long(), torch.zeros(0, 4, 4).long())
    assert int(meter.counts.sum()) == 2


def test_nothing_to_judge_and_bad_input_are_refused():
    meter = SegmentationMeter(2)
    meter.add(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), -1))
    with pytest.raises(ValueError, match="at least one pixel"):
        meter.metrics()
    with pytest.raises(ValueError, match="class 2 of 2"):
        meter.add(torch.zeros(1, 1, 1).long(), torch.full((1, 1, 1), 2))
    with pytest.raises(ValueError, match="class 3 of 2"):
        meter.add(torch.full((1, 1, 1), 3), torch.zeros(1, 1, 1).long())
    with pytest.raises(ValueError, match="predictions"):
        meter.add(torch.zeros(1, 1, 2).long(), torch.zeros(1, 2, 1).long())
    with pytest.raises(ValueError, match="positive"):
        SegmentationMeter(0)
    with pytest.raises(ValueError, match="band of 0"):
        border_band(torch.zeros(1, 2, 2).long(), 0)


@pytest.mark.parametrize("shape", [(40,), (2, 4, 5)])
def test_confusion_takes_any_shape(shape):
    generator = torch.Generator().manual_seed(0)
    said, actual = (torch.randint(-1, 3, shape, generator=generator) for _ in range(2))
    expected = torch.zeros(3, 3).long()
    for s, a in zip(said.flatten().tolist(), actual.flatten().tolist(), strict=True):
        if s >= 0 and a >= 0:
            expected[a, s] += 1
    assert torch.equal(confusion(said, actual, 3), expected)


def test_band_of_two_half_planes():
    truth = torch.zeros(1, 6, 12).long()
    truth[:, :, 5:] = 3
    band = border_band(truth, 2)
    assert band[0].all(0).tolist() == band[0].any(0).tolist()
    assert band[0, 0].nonzero().squeeze(1).tolist() == [3, 4, 5, 6]
    assert not border_band(torch.full((1, 6, 6), 2), 2).any()


def test_band_ignores_unknown_pixels():
    truth = torch.zeros(1, 1, 9).long()
    truth[0, 0, 4], truth[0, 0, 5:] = -1, 1
    assert border_band(truth, 1).any().item() is False
    assert border_band(truth, 2)[0, 0].nonzero().squeeze(1).tolist() == [3, 5]
    assert not border_band(torch.full((1, 3, 3), -1), 1).any()


@pytest.mark.parametrize("radius", [1, 3])
def test_band_equals_a_dilation_of_every_other_class(radius):
    _, truth = maps(4)
    square = np.ones((1, 2 * radius + 1, 2 * radius + 1), dtype=bool)
    expected = torch.zeros_like(truth, dtype=torch.bool)
    for k in range(K):
        others = ((truth >= 0) & (truth != k)).numpy()
        near = torch.from_numpy(ndimage.binary_dilation(others, square))
        expected |= (truth == k) & near
    assert torch.equal(border_band(truth, radius), expected)


def test_border_figure_looks_at_the_band_alone():
    truth = torch.zeros(1, 8, 20).long()
    truth[:, :, 10:] = 1
    far, near = truth.clone(), truth.clone()
    far[:, :, 0], near[:, :, 9] = 1, 1
    found = []
    for predicted in (far, near):
        meter = SegmentationMeter(2, border=2)
        meter.add(predicted, truth)
        found.append(meter.metrics())
    assert found[0]["miou"] == found[1]["miou"] < 1
    assert found[0]["border_miou"] == 1
    assert found[1]["border_miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_segmentation_metrics_by_hand():
    counts = torch.tensor([[6, 2], [1, 1]])
    iou = iou_per_class(counts).tolist()
    assert iou == pytest.approx([6 / 9, 1 / 4])
    found = segmentation_metrics(counts)
    assert found["frequency_weighted_iou"] == pytest.approx(0.8 * 6 / 9 + 0.2 / 4)
    assert found["mean_accuracy"] == pytest.approx((0.75 + 0.5) / 2)


def dense_probs(seed=0, num_classes=K):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, num_classes, 9, 11, generator=generator) * 3
    truth = torch.distributions.Categorical(logits=logits.movedim(1, -1) / 2).sample()
    truth[:, 0] = -1
    return logits, truth


def test_streamed_calibration_equals_that_of_all_items():
    logits, truth = dense_probs()
    probs = logits.softmax(1)
    confidence, predicted = probs.max(1)
    meter = SegmentationMeter(K)
    for i in range(4):
        meter.add(predicted[i : i + 1], truth[i : i + 1], confidence[i : i + 1])
    rows = probs.movedim(1, -1).reshape(-1, K)
    expected = reliability(rows, truth.flatten())
    found = meter.bins.reliability()
    assert torch.equal(found.count, expected.count)
    torch.testing.assert_close(found.confidence, expected.confidence, equal_nan=True)
    torch.testing.assert_close(found.accuracy, expected.accuracy, equal_nan=True)
    figures = meter.metrics()
    assert figures["ece"] == pytest.approx(expected.error)
    assert figures["confidence"] == pytest.approx(float(confidence[truth >= 0].mean()))
    assert meter.bins.accuracy == pytest.approx(figures["pixel_accuracy"])


def test_bins_without_anything():
    bins = ConfidenceBins()
    bins.add(torch.tensor([float("nan")]), torch.tensor([True]), torch.tensor([False]))
    assert bins.total == 0 and bins.confidence != bins.confidence
    assert bins.reliability().error == 0


def test_what_confidence_is_worth():
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(40_000, generator=generator)
    bins = ConfidenceBins(bins=20)
    bins.add(confidence, torch.rand(40_000, generator=generator) < confidence**2)
    asked = torch.tensor([[0.3, 0.6], [0.9, 0.99]])
    worth = bins.worth(asked)
    assert worth.shape == asked.shape and worth.dtype == torch.float64
    assert torch.allclose(worth, asked.double() ** 2, atol=0.03)
    # It never falls, and its mean over what was counted is the accuracy (isotonic regression).
    line = bins.worth(torch.linspace(0, 1, 101))
    assert bool((line.diff() >= 0).all())
    shares = torch.histc(confidence.double(), 20, 0, 1) / 40_000
    steps = bins.worth(bins.reliability().confidence)
    assert float((shares * steps).sum()) == pytest.approx(bins.accuracy, abs=1e-6)


def test_bins_that_fall_are_taken_together_and_empty_ones_filled():
    bins = ConfidenceBins(bins=10)
    bins.add(torch.tensor([0.15] * 4 + [0.75] * 4), torch.tensor([1, 1, 1, 0, 1, 1, 0, 0]).bool())
    assert torch.allclose(bins.worth(torch.tensor([0.0, 0.45, 1.0])), torch.tensor(0.625).double())
    bins = ConfidenceBins(bins=10)
    bins.add(torch.tensor([0.25, 0.75]), torch.tensor([False, True]))
    assert bins.worth(torch.tensor([0.1, 0.5, 0.9])).tolist() == pytest.approx([0, 0.5, 1])
    nothing = ConfidenceBins()
    assert nothing.worth(torch.tensor([0.2, 0.8])).tolist() == pytest.approx([0.2, 0.8])


def test_what_is_said_of_each_picture():
    classes = torch.tensor([[[0, 1], [1, 255]], [[2, 2], [2, -1]]])
    confidence = torch.tensor([[[0.5, 0.7], [0.9, 0.1]], [[1.0, 1.0], [1.0, 0.0]]])
    said = said_of_maps(classes, confidence, None, 3)
    expected = torch.tensor([[0.25, 0.5, 0, 0.55], [0, 0, 0.75, 0.75]])
    torch.testing.assert_close(said, expected, rtol=0, atol=1e-3)
    shown = torch.tensor([[[1, 1], [0, 0]], [[0, 0], [0, 0]]]).bool()
    part = said_of_maps(classes, confidence, shown, 3)
    torch.testing.assert_close(
        part, torch.tensor([[0.5, 0.5, 0, 0.6], [0, 0, 0, 0]]), rtol=0, atol=1e-3
    )
    meter = SegmentationMeter(3)
    assert meter.said.shape == (0, 4)
    truth = torch.full_like(classes, -1)
    meter.add(classes.clamp_max(2), truth, confidence, shown)
    torch.testing.assert_close(meter.said, part)
