import math

import pytest
import torch
from sklearn import metrics as reference

from leaven.labels.classes import ClassLabels
from leaven.quality import classification_metrics, confusion, per_class


def predictions(n=300, num_classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, num_classes, generator=generator) * 2
    truth = torch.randint(0, num_classes, (n,), generator=generator)
    logits[torch.arange(n), truth] += 1.5
    return logits.softmax(1), truth


def test_metrics_equal_scikit_learn():
    probs, truth = predictions()
    found = classification_metrics(probs, truth)
    predicted = probs.argmax(1)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    balanced = reference.balanced_accuracy_score(truth, predicted)
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert found["macro_f1"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    normal = probs.double() / probs.double().sum(1, keepdim=True)
    assert found["nll"] == pytest.approx(reference.log_loss(truth, normal.numpy()), rel=1e-5)
    target = torch.nn.functional.one_hot(truth, 5)
    assert found["brier"] == pytest.approx(float((probs - target).square().sum(1).mean()), rel=1e-5)
    assert found["confidence"] == pytest.approx(float(probs.max(1).values.mean()))


def test_metrics_of_a_perfect_and_of_a_hopeless_model():
    truth = torch.tensor([0, 1, 2])
    perfect = classification_metrics(torch.eye(3), truth)
    assert perfect["accuracy"] == perfect["macro_f1"] == perfect["balanced_accuracy"] == 1
    assert perfect["nll"] == perfect["brier"] == perfect["ece"] == 0
    wrong = classification_metrics(torch.eye(3).roll(1, 1), truth)
    assert wrong["accuracy"] == 0
    assert wrong["brier"] == 2
    assert wrong["ece"] == 1
    assert math.isfinite(wrong["nll"])


def test_unknown_truth_is_left_out():
    probs, truth = predictions()
    hidden = truth.clone()
    hidden[::2] = -1
    known = classification_metrics(probs[1::2], truth[1::2])
    assert classification_metrics(probs, hidden) == pytest.approx(known)


@pytest.mark.parametrize("truth", [torch.full((4,), -1), torch.zeros(3, dtype=torch.long)])
def test_metrics_refuse_nothing_to_judge_and_other_lengths(truth):
    with pytest.raises(ValueError, match=r"truth"):
        classification_metrics(torch.full((4, 2), 0.5), truth)


def test_confusion_has_truth_in_rows():
    predicted = torch.tensor([0, 1, 1, 2, -1, 0])
    truth = torch.tensor([0, 1, 2, 2, 1, -1])
    assert confusion(predicted, truth, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_per_class_of_accepted_labels():
    labels = ClassLabels(
        classes=torch.tensor([0, 0, 1, 1, -1, 2]),
        confidence=torch.ones(6),
        weight=torch.tensor([1.0, 0.5, 1.0, 0.0, 1.0, 1.0]),
        source=torch.full((6,), 2),
    )
    table = per_class(labels, torch.tensor([0, 1, 1, 1, 1, -1]), 4)
    assert table.support.tolist() == [2, 1, 1, 0]
    assert table.share.tolist() == [0.5, 0.25, 0.25, 0]
    assert table.precision[:2].tolist() == [0.5, 1]
    assert table.precision[2:].isnan().all()
    assert table.recall[:2].tolist() == [1, 0.25]
    assert table.recall[2:].isnan().all()
