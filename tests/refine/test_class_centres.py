"""Class centres that move over the steps, and the proposals they correct."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from leaven.refine import ClassCentres, class_means, reweight_by_centres


def test_means_of_members() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
    member = torch.tensor([[True, False, True], [True, False, False], [False, False, True]])
    means, counts = class_means(features, member)
    assert means.tolist() == [[2, 0], [0, 0], [0.5, 2.5]]
    assert counts.tolist() == [2, 0, 2]


def test_the_first_mean_is_the_centre_and_later_ones_move_it() -> None:
    centres, generator = ClassCentres(2, 3, momentum=0.6), torch.Generator().manual_seed(0)
    expected = torch.zeros(2, 3)
    for step in range(1, 8):
        means = torch.randn(2, 3, generator=generator)
        present = torch.tensor([1.0, float(step >= 4)])
        centres.update(means, present)
        kept = min(1 - 1 / step, 0.6)
        expected[0] = kept * expected[0] + (1 - kept) * means[0]
        if step == 4:
            expected[1] = means[1]  # first seen late: not blended with nothing
        elif step > 4:
            expected[1] = kept * expected[1] + (1 - kept) * means[1]
        torch.testing.assert_close(centres.centres, expected)


def test_without_momentum_the_means_of_the_batch() -> None:
    centres = ClassCentres(2, 2, momentum=0.0)
    for value in (1.0, 5.0):
        means = torch.full((2, 2), value)
        centres.update(means, torch.ones(2))
    assert torch.equal(centres.centres, means)


def test_a_class_that_is_missing_keeps_its_centre() -> None:
    centres = ClassCentres(2, 2)
    centres.update(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2))
    for _ in range(10):
        centres.update(torch.tensor([[9.0, 9.0], [0.0, 0.0]]), torch.tensor([4.0, 0.0]))
    assert centres.centres[1].tolist() == [3, 4]
    assert centres.centres[0, 0] > 5


def test_similarity_is_the_cosine_and_neutral_for_unseen_classes() -> None:
    centres = ClassCentres(3, 2)
    features = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 2, 3)
    assert not centres.similarity(features).any()
    means = torch.tensor([[10.0, 0.0], [0.0, 0.1], [0.0, 0.0]])
    centres.update(means, torch.tensor([1.0, 1.0, 0.0]))
    found = centres.similarity(features)
    assert found.shape == (1, 3, 2, 3)
    torch.testing.assert_close(found[0, :, 1, 2], torch.tensor([0.6, 0.8, 0.7]))


def test_reweighting_multiplies_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 3, generator=generator)
    near = torch.rand(2, 4, 3, 3, generator=generator) * 2 - 1
    product = logits.softmax(1) * (near / 0.5).softmax(1)
    found = reweight_by_centres(logits, near, 0.5).softmax(1)
    torch.testing.assert_close(found, F.normalize(product, p=1, dim=1))


def test_equal_similarity_leaves_labels_and_distributions() -> None:
    logits = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    found = reweight_by_centres(logits, torch.full_like(logits, 0.3), 0.5)
    assert torch.equal(found.argmax(1), logits.argmax(1))
    torch.testing.assert_close(found.softmax(1), logits.softmax(1))


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="momentum"):
        ClassCentres(2, 2, momentum=1.0)
    with pytest.raises(ValueError, match="at least 1"):
        ClassCentres(0, 2)
