"""The one shape of a classifier: normalise, encode, classify."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelSpec:
    """What is needed to build a classifier again.

    Attributes:
        name: ``"cnn-small"``, ``"wrn-28-2"``, ``"timm:resnet18"``, ``"torchvision:resnet18"``, ...
        classes: the class names in the order of the outputs.
        shape: (C, H, W) of the pictures it takes.
        mean, std: per channel, in units of [0, 1] pictures.
        dropout: the rate in front of the head.
        options: further keyword arguments of the builder.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dropout: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelSpec:
        values = dict(values)
        for name in ("classes", "shape", "mean", "std"):
            values[name] = tuple(values[name])
        return cls(**values)


class Classifier(nn.Module):
    """Pictures in, logits out.

    ``forward`` takes pictures (B, C, H, W) as uint8, or as float in [0, 1], and gives float32
    logits (B, K): ``head(dropout(features(images)))`` with
    ``features(images) = encoder((images - mean) / std)`` of shape (B, D).

    Args:
        encoder: normalised float pictures (B, C, H, W) -> features (B, D).
        head: features -> logits.
        spec: how it was built; saved with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, head: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.encoder, self.head, self.spec = encoder, head, spec
        self.dropout = nn.Dropout(spec.dropout)
        self.register_buffer("mean", _channels(spec.mean))
        self.register_buffer("std", _channels(spec.std))
        self.precision: torch.dtype | None = None

    @property
    def num_classes(self) -> int:
        return len(self.spec.classes)

    @property
    def num_features(self) -> int:
        """D, the width of ``features``."""
        return int(self.head.in_features)  # type: ignore[arg-type]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 or [0, 1] pictures to zero mean and unit spread per channel."""
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255
        return (images - self.mean) / self.std

    def features(self, images: Tensor) -> Tensor:
        """(B, D) float32."""
        with self._autocast():
            return self.encoder(self.normalise(images)).float()

    def classify(self, features: Tensor) -> Tensor:
        """(B, D) features to (B, K) float32 logits."""
        with self._autocast():
            return self.head(self.dropout(features)).float()

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision is None:
            return nullcontext()
        return torch.autocast(self.mean.device.type, self.precision)


def _channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float32).view(1, -1, 1, 1)
