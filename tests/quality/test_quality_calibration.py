import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from leaven.quality import (
    calibrate,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from leaven.quality.accuracy import average_confidence
from leaven.quality.calibration import TEMPERATURES


def sampled(n=4000, num_classes=4, scale=1.0, seed=0):
    """Logits and a truth drawn from their softmax; the logits are then scaled."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, num_classes, generator=generator) * 2
    truth = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return logits * scale, truth


def slow_error(probs, truth, bins):
    total = 0.0
    confidence, predicted = probs.double().max(1)
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        inside = [j for j in range(len(truth)) if low < confidence[j] <= high]
        if inside:
            accuracy = sum(float(predicted[j] == truth[j]) for j in inside) / len(inside)
            mean = sum(float(confidence[j]) for j in inside) / len(inside)
            total += len(inside) / len(truth) * abs(accuracy - mean)
    return total


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_error_equals_the_formula(bins):
    logits, truth = sampled(200, scale=3.0)
    probs = logits.softmax(1)
    assert expected_calibration_error(probs, truth, bins) == pytest.approx(
        slow_error(probs, truth, bins)
    )


def test_reliability_bins():
    probs = torch.tensor([[0.75, 0.25], [0.75, 0.25], [1.0, 0.0], [0.5, 0.5]])
    found = reliability(probs, torch.tensor([0, 1, 0, -1]), bins=4)
    assert found.count.tolist() == [0, 0, 2, 1]
    assert found.confidence[2:].tolist() == [0.75, 1]
    assert found.accuracy[2:].tolist() == [0.5, 1]
    assert found.accuracy[:2].isnan().all()
    assert found.error == pytest.approx(2 / 3 * 0.25)


def test_reliability_of_nothing_is_empty():
    found = reliability(torch.rand(3, 2), torch.full((3,), -1))
    assert found.count.sum() == 0
    assert found.error == 0


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5, 6.0])
def test_temperature_undoes_a_scale_and_is_the_minimum(scale):
    logits, truth = sampled(scale=scale)

    def loss(temperature):
        return float(torch.nn.functional.cross_entropy(logits.double() / temperature, truth))

    found = fit_temperature(logits, truth)
    assert found == pytest.approx(scale, rel=0.08)
    slow = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6})
    assert found == pytest.approx(slow.x, rel=1e-4)


def test_temperature_is_the_same_for_log_probabilities():
    logits, truth = sampled(500, scale=2.0)
    assert fit_temperature(logits.log_softmax(1), truth) == pytest.approx(
        fit_temperature(logits, truth), rel=1e-4
    )


def test_temperature_of_a_certain_and_of_an_empty_model():
    truth = torch.tensor([0, 1])
    assert fit_temperature(torch.eye(2) * 50, truth) == TEMPERATURES[0]
    assert fit_temperature(torch.eye(2).roll(1, 1) * 5, truth) == TEMPERATURES[1]
    assert fit_temperature(torch.zeros(2, 2), truth) == TEMPERATURES[1]
    with_zero = torch.tensor([[1.0, 0.0], [0.6, 0.4], [0.3, 0.7]]).log()
    assert math.isfinite(fit_temperature(with_zero, torch.tensor([1, 0, 1])))


def test_temperature_needs_a_truth():
    with pytest.raises(ValueError, match="known truth"):
        fit_temperature(torch.zeros(2, 2), torch.tensor([-1, -1]))


def test_calibration_mends_the_error_and_keeps_the_ranking():
    logits, truth = sampled(scale=4.0)
    probs = logits.softmax(1)
    mended = calibrate(probs, fit_temperature(logits, truth))
    assert expected_calibration_error(probs, truth) > 0.1
    assert expected_calibration_error(mended, truth) < 0.03
    assert torch.equal(mended.argmax(1), probs.argmax(1))
    torch.testing.assert_close(calibrate(probs, 1.0), probs)


def test_mean_confidence_of_a_calibrated_model_is_its_accuracy():
    logits, truth = sampled(scale=3.0)
    probs = logits.softmax(1)
    chosen = probs.max(1).values > 0.8
    accuracy = float((probs.argmax(1) == truth)[chosen].float().mean())
    estimate = average_confidence(probs[chosen], fit_temperature(logits, truth))
    assert estimate == pytest.approx(accuracy, abs=0.02)
    assert average_confidence(probs[chosen]) > accuracy + 0.05
