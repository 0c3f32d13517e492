"""The confident share of a batch."""

from __future__ import annotations

import torch

from leaven.select import confident_share


def test_the_share_of_valid_pixels() -> None:
    confidence = torch.tensor([[[0.99, 0.968, 0.967, 1.0]]])
    everywhere = torch.ones(1, 1, 4, dtype=torch.bool)
    assert float(confident_share(confidence, everywhere)) == 0.75
    assert float(confident_share(confidence, torch.tensor([[[True, False, True, False]]]))) == 0.5


def test_nothing_valid() -> None:
    assert float(confident_share(torch.ones(1, 2, 2), torch.zeros(1, 2, 2).bool())) == 0
