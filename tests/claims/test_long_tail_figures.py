"""What the harness measures of unequal classes."""

from __future__ import annotations

import pytest
import torch
from claims.measures import recall_rarest


def test_the_recall_of_the_three_classes_with_the_fewest_labels() -> None:
    given = torch.repeat_interleave(torch.arange(5), torch.tensor([9, 1, 5, 2, 3]))
    truth = torch.tensor([1, 1, 3, 3, 4, 4, 0, 2, -1])
    found = torch.tensor([1, 0, 3, 3, 0, 0, 1, 1, 1])
    assert recall_rarest(found, truth, given, 5) == {"label_recall_rarest": pytest.approx(0.5)}


def test_a_class_without_unlabelled_items_has_no_recall_and_equal_classes_have_no_rarest() -> None:
    given, truth = torch.tensor([0, 0, 0, 1, 1, 2, 3]), torch.tensor([2, 2, 1])
    found = torch.tensor([2, 2, 0])
    assert recall_rarest(found, truth, given, 4) == {"label_recall_rarest": pytest.approx(0.5)}
    assert recall_rarest(found, truth, torch.tensor([0, 1, 2]), 3) == {}
