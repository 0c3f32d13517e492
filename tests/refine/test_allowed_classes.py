"""Classes that image tags rule out."""

from __future__ import annotations

import torch

from leaven.refine import AllowedClasses, only_allowed
from leaven.select import pixel_entropy


def test_allowed_are_the_tags_and_the_background() -> None:
    tags = torch.tensor([[False, True, False], [False, False, True]])
    rows = AllowedClasses(tags, background=0)(torch.tensor([1, 0, 1]))
    assert rows.tolist() == [[True, False, True], [True, True, False], [True, False, True]]
    assert AllowedClasses(tags)(torch.tensor([0])).tolist() == [[False, True, False]]
    assert not tags[:, 0].any()


def test_absent_classes_get_nothing_and_the_rest_is_renormalised() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    allowed = torch.tensor([[True, False, True], [False, True, True]])[:, :, None, None]
    probs = only_allowed(logits, allowed).softmax(1)
    expected = logits.softmax(1) * allowed
    torch.testing.assert_close(probs, expected / expected.sum(1, keepdim=True))
    assert (probs[0, 1] == 0).all()
    assert (probs[1, 0] == 0).all()


def test_all_allowed_changes_nothing() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(only_allowed(logits, torch.ones(2, 3, 1, 1, dtype=torch.bool)), logits)
    assert torch.equal(only_allowed(logits, torch.zeros(2, 3, 1, 1, dtype=torch.bool)), logits)


def test_a_single_allowed_class_has_no_entropy() -> None:
    logits = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    allowed = torch.tensor([[False, True, False]])[:, :, None, None]
    entropy = pixel_entropy(only_allowed(logits, allowed).softmax(1))
    assert (entropy == 0).all()
