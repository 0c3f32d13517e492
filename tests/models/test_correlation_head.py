"""The map of which positions belong together."""

from __future__ import annotations

import torch

from leaven.models.segmentation import CorrelationHead


def test_rows_are_distributions_over_positions() -> None:
    head = CorrelationHead(6, 3, width=8)
    maps = torch.randn(2, 6, 3, 4)
    correlation = head(maps)
    assert correlation.shape == (2, 12, 12) and (correlation >= 0).all()
    torch.testing.assert_close(correlation.sum(2), torch.ones(2, 12))
    assert not torch.allclose(correlation.sum(1), torch.ones(2, 12), atol=1e-3)


def test_it_is_the_scaled_product_of_the_two_projections() -> None:
    head = CorrelationHead(6, 3, width=8).eval()
    maps = torch.randn(2, 6, 3, 4)
    shared = head.project(maps)
    found = head(maps)
    for picture in range(2):
        for i in (0, 5):
            query = head.first(shared)[picture].flatten(1)[:, i]
            keys = head.second(shared)[picture].flatten(1)
            torch.testing.assert_close(found[picture, i], (query @ keys / 3**0.5).softmax(0))


def test_channels_are_left_out_while_it_learns() -> None:
    head = CorrelationHead(6, 3, width=64, dropout=0.5)
    maps = torch.randn(1, 6, 3, 4)
    assert not torch.equal(head(maps), head(maps))
    head.eval()
    assert torch.equal(head(maps), head(maps))
