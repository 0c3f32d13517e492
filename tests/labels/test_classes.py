"""Class labels."""

import pytest
import torch

from leaven.labels import ClassLabels, Source


def test_from_probs_takes_the_highest_probability() -> None:
    labels = ClassLabels.from_probs(torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]]))
    assert labels.classes.tolist() == [1, 0]
    assert labels.classes.dtype == torch.int64
    torch.testing.assert_close(labels.confidence, torch.tensor([0.5, 0.9]))
    assert labels.weight.tolist() == [1.0, 1.0]
    assert labels.source.tolist() == [Source.MODEL, Source.MODEL]
    assert labels.probs is not None and labels.probs.shape == (2, 3)


def test_from_probs_of_half_precision_is_kept_as_float32() -> None:
    labels = ClassLabels.from_probs(torch.tensor([[0.25, 0.75]], dtype=torch.bfloat16))
    assert labels.confidence.dtype == labels.weight.dtype == torch.float32
    assert labels.confidence.item() == 0.75


def test_from_person_trusts_what_is_known() -> None:
    labels = ClassLabels.from_person(torch.tensor([2, -1, 0]))
    assert labels.weight.tolist() == labels.confidence.tolist() == [1.0, 0.0, 1.0]
    assert labels.source.tolist() == [Source.PERSON, Source.NOBODY, Source.PERSON]
    assert labels.accepted.tolist() == [True, False, True]
    assert labels.accepted_share == pytest.approx(2 / 3)


def test_accuracy_counts_accepted_labels_with_known_truth() -> None:
    labels = ClassLabels.from_probs(
        torch.eye(4), weight=torch.tensor([1.0, 0.5, 0.0, 1.0])
    )  # classes 0, 1, 2 (not trusted), 3
    assert labels.accuracy(torch.tensor([0, 2, 2, -1])) == 0.5
    assert labels.accuracy(torch.tensor([0, 1, 0, 3])) == 1.0


@pytest.mark.parametrize(
    ("weight", "truth"),
    [([1.0, 1.0], [-1, -1]), ([0.0, 0.0], [0, 1]), ([0.0, 1.0], [0, -1])],
)
def test_accuracy_is_none_where_nothing_can_be_judged(
    weight: list[float], truth: list[int]
) -> None:
    labels = ClassLabels.from_probs(torch.eye(2), torch.tensor(weight))
    assert labels.accuracy(torch.tensor(truth)) is None


def test_no_items() -> None:
    labels = ClassLabels.from_probs(torch.empty(0, 3))
    assert len(labels) == 0
    assert labels.accepted_share == 0.0
    assert labels.accuracy(torch.empty(0, dtype=torch.int64)) is None


def test_an_unknown_class_is_never_accepted() -> None:
    labels = ClassLabels.from_person(torch.tensor([-1])).with_weight(torch.ones(1))
    assert not labels.accepted.any()


@pytest.mark.parametrize(
    "index",
    [torch.tensor([3, 1]), torch.tensor([False, True, False, True]), torch.tensor([]).long()],
)
def test_select_keeps_rows_together(index: torch.Tensor) -> None:
    probs = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    labels = ClassLabels.from_probs(probs, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    chosen = labels.select(index)
    for name in ("classes", "confidence", "weight", "source", "probs"):
        assert torch.equal(getattr(chosen, name), getattr(labels, name)[index])


def test_select_without_probs() -> None:
    assert ClassLabels.from_person(torch.tensor([1, 0])).select(torch.tensor([0])).probs is None


@pytest.mark.parametrize("name", ["confidence", "weight", "source", "probs"])
def test_rows_must_agree(name: str) -> None:
    values = {
        "classes": torch.zeros(2).long(),
        "confidence": torch.zeros(2),
        "weight": torch.zeros(2),
        "source": torch.zeros(2).long(),
        "probs": torch.zeros(2, 3),
    }
    with pytest.raises(ValueError, match=f"{name} has 3 rows"):
        ClassLabels(**{**values, name: torch.zeros(3, 3)})
