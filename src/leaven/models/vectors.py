"""Encoders of vectors: feature rows (B, D), or pictures as their flat pixels."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from leaven.errors import ModelError


class Flat(nn.Flatten):
    """``linear``: the values as they are, one after the other; with the head on top, multinomial
    logistic regression."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.num_features = math.prod(shape)


class Centred(Flat):
    """``centred``: each row less its own mean, divided by its length; a constant row is all zeros."""

    def forward(self, rows: Tensor) -> Tensor:
        flat = super().forward(rows)
        return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


class Perceptron(nn.Sequential):
    """``mlp``: ``layers`` hidden layers of ``hidden`` units with ReLU, from He-normal weights."""

    def __init__(self, shape: tuple[int, ...], *, hidden: int = 256, layers: int = 1) -> None:
        if hidden < 1 or layers < 1:
            raise ModelError(
                f"hidden={hidden}, layers={layers}.",
                "at least one hidden layer of at least one unit",
                "Change the options of the model, or use the model 'linear'.",
            )
        parts: list[nn.Module] = [nn.Flatten()]
        width = math.prod(shape)
        for _ in range(layers):
            layer = nn.Linear(width, hidden)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
            parts += [layer, nn.ReLU()]
            width = hidden
        super().__init__(*parts)
        self.num_features = hidden
