"""Accuracy without labels: each estimator where the answer is known."""

import math

import pytest
import torch

from leaven.quality import HeldOut, best_estimate, estimate_accuracy
from leaven.quality.accuracy import (
    BEST_FIRST,
    ESTIMATORS,
    AccuracyThreshold,
    agreement,
    average_confidence,
    difference_of_confidences,
    perturbation_radius,
)


def sure(*confidence: float) -> torch.Tensor:
    """Rows of three classes that say class 0 with these confidences, the rest shared."""
    c = torch.tensor(confidence)
    return torch.stack([c, (1 - c) / 2, (1 - c) / 2], 1)


def sampled(n: int, seed: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities, and truths that are drawn by them; said ``scale`` times as sharply."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, 5, generator=generator)
    truth = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return (scale * logits).softmax(1), truth


# -- one by one -----------------------------------------------------------------------------------


def test_mean_confidence() -> None:
    assert average_confidence(sure(0.9, 0.5)) == pytest.approx(0.7)
    odds = [math.sqrt(0.9 / 0.05), math.sqrt(0.5 / 0.25)]
    expected = sum(o / (o + 2) for o in odds) / 2
    assert average_confidence(sure(0.9, 0.5), 2.0) == pytest.approx(expected)


def test_lost_confidence_is_lost_accuracy() -> None:
    source = HeldOut(sure(0.9, 0.8, 0.7, 0.6), torch.tensor([0, 0, 0, 1]))
    assert source.accuracy == 0.75
    assert difference_of_confidences(sure(0.6, 0.5), source) == pytest.approx(0.75 - 0.2)
    assert difference_of_confidences(source.probs, source) == pytest.approx(0.75)
    assert difference_of_confidences(sure(1.0, 1.0), source) == pytest.approx(1.0)
    poor = HeldOut(sure(0.9, 0.9, 0.9), torch.tensor([1, 1, 0]))
    assert difference_of_confidences(sure(0.4, 0.4), poor) == 0


@pytest.mark.parametrize("kind", ["confidence", "entropy"])
def test_as_many_source_items_lie_below_the_threshold_as_are_wrong(kind: str) -> None:
    probs, truth = sampled(400, 1)
    source = HeldOut(probs, truth)
    threshold = AccuracyThreshold.fit(source, kind)  # type: ignore[arg-type]
    assert threshold.accuracy(probs) == pytest.approx(source.accuracy, abs=1e-12)
    assert threshold.part == 1


def test_the_threshold_by_hand() -> None:
    source = HeldOut(sure(0.9, 0.8, 0.7, 0.6), torch.tensor([0, 1, 0, 1]))
    threshold = AccuracyThreshold.fit(source, "confidence")
    assert threshold.value == pytest.approx(0.8)
    assert threshold.accuracy(sure(0.95, 0.85, 0.75, 0.5, 0.4)) == pytest.approx(0.4)
    by_entropy = AccuracyThreshold.fit(source, "entropy")
    assert by_entropy.value == pytest.approx(0.8 * math.log(0.8) + 0.2 * math.log(0.1), abs=1e-6)


def test_ties_are_counted_in_part() -> None:
    source = HeldOut(sure(1.0, 1.0, 1.0, 1.0, 0.5), torch.tensor([0, 0, 0, 1, 1]))
    threshold = AccuracyThreshold.fit(source, "confidence")
    assert threshold.accuracy(source.probs) == pytest.approx(0.6)
    assert threshold.part == pytest.approx(0.75)


@pytest.mark.parametrize(("truth", "expected"), [([0, 0], 1.0), ([1, 2], 0.0)])
def test_all_right_and_all_wrong(truth: list[int], expected: float) -> None:
    source = HeldOut(sure(0.9, 0.8), torch.tensor(truth))
    for kind in ("confidence", "entropy"):
        threshold = AccuracyThreshold.fit(source, kind)  # type: ignore[arg-type]
        assert threshold.accuracy(sure(0.85, 0.95)) == expected


def test_agreement_of_two_that_err_alike_and_independently() -> None:
    classes = torch.tensor([0, 1, 2, 2])
    assert agreement(classes, classes) == 1
    assert agreement(classes, torch.tensor([0, 1, 0, 0])) == 0.5
    # Two calibrated draws of one distribution agree as often as each is right (GDE).
    probs, truth = sampled(40000, 3)
    generator = torch.Generator().manual_seed(4)
    one, other = (torch.multinomial(probs, 1, generator=generator).squeeze(1) for _ in range(2))
    accuracy = float((one == truth).float().mean())
    assert agreement(one, other) == pytest.approx(accuracy, abs=0.01)


# -- the sizes of changes ---------------------------------------------------------------------------


def test_sizes_by_hand() -> None:
    probs = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    classes = torch.tensor([0, 1])
    torch.testing.assert_close(
        perturbation_radius(probs, classes, 0.4, "sample"), torch.tensor([0.0, 0.4])
    )
    torch.testing.assert_close(
        perturbation_radius(probs, classes, 0.4, "domain"), torch.tensor([0.2, 0.2])
    )
    expected = torch.tensor([0.0, 0.4 * math.sqrt(0.5)])
    torch.testing.assert_close(perturbation_radius(probs, classes, 0.4, "mixed"), expected)
    by_opinion = perturbation_radius(probs, classes, 0.4, "domain", "disagreement")
    torch.testing.assert_close(by_opinion, torch.tensor([0.2, 0.2]))
    same = perturbation_radius(probs, torch.tensor([0, 0]), 0.4, "mixed", "disagreement")
    assert not same.any()


def test_sizes_stay_in_their_range() -> None:
    probs, truth = sampled(200, 5)
    for rule in ("sample", "domain", "mixed"):
        for difficulty in ("entropy", "disagreement"):
            radius = perturbation_radius(probs, truth, 0.3, rule, difficulty)  # type: ignore[arg-type]
            assert radius.shape == (200,)
            assert float(radius.min()) >= 0 and float(radius.max()) <= 0.3
    assert not perturbation_radius(torch.ones(3, 1), torch.zeros(3).long(), 0.3).any()
    assert perturbation_radius(probs[:0], truth[:0], 0.3).shape == (0,)
    with pytest.raises(ValueError, match="size"):
        perturbation_radius(probs, truth, -0.1)


# -- the one door -----------------------------------------------------------------------------------


def test_what_the_evidence_allows() -> None:
    probs, truth = sampled(300, 6)
    said = probs.argmax(1)
    assert list(estimate_accuracy(probs)) == ["confidence"]
    by_source = ["confidence", "calibrated-confidence", "difference", "atc-confidence"]
    held_out = HeldOut(probs, truth)
    assert list(estimate_accuracy(probs, held_out=held_out)) == [*by_source, "atc-entropy"]
    full = estimate_accuracy(probs, held_out=held_out, second=said, adapted=said, perturbed=said)
    assert list(full) == list(ESTIMATORS) and set(BEST_FIRST) == set(ESTIMATORS)
    assert full["agreement"].accuracy == full["adapted"].accuracy == 1
    assert best_estimate(full) == full[BEST_FIRST[0]]
    for name, one in full.items():
        assert one.name == name and 0 <= one.accuracy <= 1
        assert int(one.wrong.sum()) == round((1 - one.accuracy) * 300)


def test_on_items_of_the_same_kind_all_that_use_labels_are_near() -> None:
    held_out = HeldOut(*sampled(4000, 7, scale=3.0))
    probs, truth = sampled(4000, 8, scale=3.0)
    accuracy = float((probs.argmax(1) == truth).float().mean())
    found = estimate_accuracy(probs, held_out=held_out)
    assert found.pop("confidence").accuracy > accuracy + 0.1
    for one in found.values():
        assert one.accuracy == pytest.approx(accuracy, abs=0.02)


def test_flags_are_the_least_sure_items_or_those_of_other_opinion() -> None:
    probs = sure(0.9, 0.4, 0.8, 0.5)
    found = estimate_accuracy(probs, second=torch.tensor([0, 0, 1, 0]))
    assert found["agreement"].wrong.tolist() == [False, False, True, False]
    assert found["confidence"].accuracy == pytest.approx(0.65)
    assert found["confidence"].wrong.tolist() == [False, True, False, False]


def test_only_items_with_weight_are_counted() -> None:
    probs, weight = sure(0.9, 0.4, 0.8), torch.tensor([0.5, 0.0, 1.0])
    source = HeldOut(sure(0.9, 0.6), torch.tensor([0, 1]))
    second = torch.tensor([0, 1, 1])
    found = estimate_accuracy(probs, weight=weight, held_out=source, second=second)
    assert found["confidence"].accuracy == pytest.approx(0.85)
    assert found["agreement"].accuracy == 0.5
    assert found["agreement"].wrong.tolist() == [False, False, True]
    # What is chosen by its confidence lies above every threshold.
    assert set(found) == {"confidence", "calibrated-confidence", "agreement"}
    whole = estimate_accuracy(probs, weight=torch.ones(3), held_out=source)
    assert {"difference", "atc-entropy", "atc-confidence"} < set(whole)
    assert estimate_accuracy(probs, weight=torch.zeros(3)) == {}
    assert estimate_accuracy(probs[:0]) == {} and best_estimate({}) is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="equally many"):
        HeldOut(sure(0.9), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="equally many"):
        HeldOut(torch.zeros(0, 3), torch.zeros(0).long())
    with pytest.raises(ValueError, match="known"):
        HeldOut(sure(0.9), torch.tensor([-1]))
    with pytest.raises(ValueError, match="adapted"):
        estimate_accuracy(sure(0.9), adapted=torch.tensor([0, 1]))
    other = HeldOut(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    with pytest.raises(ValueError, match="2 classes"):
        estimate_accuracy(sure(0.9), held_out=other)
    with pytest.raises(ValueError, match="no items"):
        average_confidence(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="no items"):
        AccuracyThreshold(0.5, 1.0, "confidence").accuracy(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="not 0"):
        agreement(torch.zeros(0), torch.zeros(0))
