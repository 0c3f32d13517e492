"""First weights of diffusion transformers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

SPREAD = 0.02
"""Standard deviation of the first weights of embeddings and modulations."""


@torch.no_grad()
def xavier(module: nn.Module) -> None:
    """Xavier's uniform weights in every linear layer, and in every convolution taken as a matrix;
    biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(part.weight.view(len(part.weight), -1))
            _without_bias(part)


@torch.no_grad()
def narrow(layers: Iterable[nn.Linear]) -> None:
    """Weights from N(0, 0.02^2), biases 0."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=SPREAD)
        _without_bias(layer)


@torch.no_grad()
def silent(layers: Iterable[nn.Linear]) -> None:
    """Layers whose output is 0."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        _without_bias(layer)


def linears(module: nn.Module) -> list[nn.Linear]:
    """The linear layers of a module."""
    return [part for part in module.modules() if isinstance(part, nn.Linear)]


def _without_bias(part: nn.Module) -> None:
    if isinstance(part.bias, Tensor):
        nn.init.zeros_(part.bias)
