"""The V-Net for volumes."""

from __future__ import annotations

import pytest
import torch

from leaven.errors import ModelError
from leaven.models.segmentation import VNet


def test_logits_of_every_voxel_and_a_gradient_everywhere() -> None:
    net = VNet(2, 3, widths=(4, 6, 8))
    found = net(torch.randn(2, 2, 8, 12, 4))
    assert found.shape == (2, 3, 8, 12, 4)
    found.square().mean().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


def test_the_published_size() -> None:
    """9.44 million weights, as the networks of UA-MT and BCP have."""
    count = sum(weight.numel() for weight in VNet().parameters())
    assert 9.4e6 < count < 9.5e6


def test_dropout_is_of_training_alone() -> None:
    net = VNet(1, 2, widths=(4, 6))
    volume = torch.randn(2, 1, 4, 4, 4)
    net.eval()
    assert torch.equal(net(volume), net(volume))
    net.train()
    assert not torch.equal(net(volume), net(volume))
    plain = VNet(1, 2, widths=(4, 6), dropout=0.0)
    assert torch.equal(plain(volume), plain(volume))


def test_bad_settings() -> None:
    with pytest.raises(ModelError, match="multiples of 4"):
        VNet(1, 2, widths=(4, 6, 8))(torch.zeros(1, 1, 8, 8, 6))
    with pytest.raises(ModelError, match="dropout"):
        VNet(dropout=1.0)
    with pytest.raises(ModelError):
        VNet(widths=(4,))
