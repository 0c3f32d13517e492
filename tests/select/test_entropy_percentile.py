"""The share of pixels of lowest entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leaven.errors import ConfigError
from leaven.select.entropy_percentile import keep_certain


@pytest.mark.parametrize("share", [0.0, 0.2, 0.55, 0.8, 0.999, 1.0])
def test_it_is_numpys_percentile(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    entropy = torch.rand(3, 7, 11, generator=generator)
    valid = torch.rand(3, 7, 11, generator=generator) < 0.7
    limit = np.percentile(entropy[valid].numpy(), 100 * share)
    expected = valid & (entropy < float(limit))
    assert torch.equal(keep_certain(entropy, valid, share), expected)


def test_ten_pixels_of_known_order() -> None:
    entropy = torch.tensor([9, 0, 8, 1, 7, 2, 6, 3, 5, 4]).float().view(1, 2, 5)
    everywhere = torch.ones(1, 2, 5, dtype=torch.bool)
    # The 80th percentile of 0..9 is 7.2.
    assert torch.equal(keep_certain(entropy, everywhere, 0.8), entropy < 7.2)
    # Of 0, 1, 7, 8, 9 it is 8.2.
    valid = (entropy < 2) | (entropy > 6)
    assert torch.equal(keep_certain(entropy, valid, 0.8), valid & (entropy < 8.2))


def test_entropies_that_are_not_valid_do_not_count() -> None:
    entropy = torch.rand(2, 4, 4)
    valid = torch.rand(2, 4, 4) < 0.5
    spoilt = torch.where(valid, entropy, torch.nan)
    assert torch.equal(keep_certain(spoilt, valid, 0.5), keep_certain(entropy, valid, 0.5))


def test_nothing_to_keep() -> None:
    entropy = torch.rand(2, 3, 3)
    assert not keep_certain(entropy, torch.zeros(2, 3, 3, dtype=torch.bool), 0.8).any()
    assert not keep_certain(torch.ones(2, 3, 3), torch.ones(2, 3, 3, dtype=torch.bool), 0.8).any()
    assert keep_certain(torch.empty(0, 3, 3), torch.empty(0, 3, 3).bool(), 0.8).shape == (0, 3, 3)


def test_half_precision() -> None:
    entropy = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).half()
    kept = keep_certain(entropy, torch.ones(5, dtype=torch.bool), 0.5)
    assert kept.tolist() == [True, True, False, False, False]


def test_a_share_beyond_1() -> None:
    with pytest.raises(ConfigError, match="share is 80"):
        keep_certain(torch.rand(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool), 80)
