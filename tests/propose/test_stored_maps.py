"""Label maps that are kept for later."""

from __future__ import annotations

import pytest
import torch

from leaven.propose import StoredMaps


def test_what_is_kept_comes_back() -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(5, 3, 4, 6, generator=generator).softmax(1)
    stored = StoredMaps(5, (4, 6))
    stored.fill(probs.split(2))
    items = torch.tensor([4, 0, 4])
    classes, confidence = stored(items)
    assert torch.equal(classes, probs[items].argmax(1))
    assert float((confidence - probs[items].amax(1)).abs().max()) <= 0.5 / 255 + 1e-6
    assert float(stored.mean) == pytest.approx(float(probs.amax(1).mean()))


def test_what_shows_no_picture_has_no_confidence() -> None:
    probs = torch.randn(3, 2, 4, 6).softmax(1)
    stored = StoredMaps(3, (4, 6))
    stored.fill(probs.split(2), torch.tensor([[4, 6], [2, 6], [4, 1]]))
    confidence = stored(torch.arange(3))[1]
    best = probs.amax(1)
    shown = [best[0].flatten(), best[1, :2].flatten(), best[2, :, 0]]
    assert float(stored.mean) == pytest.approx(float(torch.cat(shown).mean()))
    assert int((confidence > 0).sum()) == 24 + 12 + 4
    assert not confidence[1, 2:].any() and not confidence[2, :, 1:].any()


def test_it_is_saved_whole() -> None:
    stored, other = StoredMaps(2, (3, 3)), StoredMaps(2, (3, 3))
    stored.fill([torch.rand(2, 4, 3, 3).softmax(1)])
    other.load_state_dict(stored.state_dict())
    for own, that in zip(stored(torch.arange(2)), other(torch.arange(2)), strict=True):
        assert torch.equal(own, that)
    assert torch.equal(stored.mean, other.mean) and float(other.mean) > 0


def test_pictures_that_are_missing() -> None:
    with pytest.raises(AssertionError, match="1 pictures for 2"):
        StoredMaps(2, (3, 3)).fill([torch.rand(1, 4, 3, 3)])
