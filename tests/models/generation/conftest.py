"""Small transformers whose weights are far from their first ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from torch import nn

from leaven.models.generation import TransformerShape

M = TypeVar("M", bound=nn.Module)


@pytest.fixture
def shape() -> TransformerShape:
    return TransformerShape(
        channels=3, side=8, width=24, blocks=3, heads=2, text_width=10, tokens=5
    )


@pytest.fixture
def trained() -> Callable[[M, int], M]:
    """A model with every weight drawn anew, so that nothing in it gives 0."""

    def drawn(model: M, seed: int = 0) -> M:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                spread = 0.3 if weight.ndim == 1 else 1.5 * weight[0].numel() ** -0.5
                weight.copy_(torch.randn(weight.shape, generator=generator) * spread)
        return model.eval()

    return drawn
