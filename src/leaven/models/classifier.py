"""The one shape of a classifier: normalise, encode, classify."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from leaven.models.precision import autocast


@dataclass(frozen=True)
class ModelSpec:
    """What is needed to build a model again.

    Attributes:
        name: ``"cnn-small"``, ``"wrn-28-2"``, ``"timm:resnet18"``, ``"torchvision:resnet18"``, ...
        classes: the class names in the order of the outputs.
        shape: (C, H, W) of the pictures it takes; (D,) of feature rows.
        mean, std: per channel, in units of [0, 1] pictures; per column of feature rows.
        dropout: the rate in front of the head.
        options: further keyword arguments of the builder.
        head: of a ``StructuredHead``; empty for a linear one.
        task: ``"classification"``, ``"segmentation"``, ``"detection"``, ``"instance"`` for boxes
            with masks; ``"text-to-image"`` or ``"translation"`` for models that make pictures.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dropout: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Any] = field(default_factory=dict)
    task: str = "classification"

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
    ``features(images) = encoder((images - mean) / std)`` of shape (B, D). One that is built for
    feature rows takes these, float (B, D), in the place of pictures.

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
        self.register_buffer("mean", channels(spec.mean, len(spec.shape)))
        self.register_buffer("std", channels(spec.std, len(spec.shape)))
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
        return normalised(images, self.mean, self.std)

    def features(self, images: Tensor) -> Tensor:
        """(B, D) float32."""
        return self.encode(self.normalise(images))

    def encode(self, inputs: Tensor) -> Tensor:
        """(B, D) float32 features of pictures that are normalised already."""
        with self._autocast():
            return self.encoder(inputs).float()

    def classify(self, features: Tensor) -> Tensor:
        """(B, D) features to (B, K) float32 logits."""
        with self._autocast():
            return self.head(self.dropout(features)).float()

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))

    def _autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.mean, self.precision)


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """``(images - mean) / std``, of uint8 pictures after they were brought to [0, 1]."""
    if images.dtype == torch.uint8:
        images = images.to(mean.dtype) / 255
    return (images - mean) / std


def channels(values: Sequence[float], dims: int) -> Tensor:
    """(C,) values as float32 (1, C, 1, 1), or (1, C) for rows (``dims`` = 1)."""
    return torch.tensor(list(values), dtype=torch.float32).view(1, -1, *[1] * (dims - 1))
