"""What every model that makes pictures has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from leaven.models.classifier import ModelSpec

GENERATION = ("text-to-image", "translation")
"""Tasks whose models make pictures: from words, or from other pictures."""


class PictureMaker(nn.Module, ABC):
    """Something given in, pictures out.

    ``spec.task`` is one of ``GENERATION``; ``spec.shape`` is (C, H, W) of the pictures it makes, and
    ``spec.options`` what its builder needs besides.
    """

    spec: ModelSpec
    precision: torch.dtype | None = None

    @abstractmethod
    @torch.no_grad()
    def make(self, given: Any, generator: torch.Generator, **how: Any) -> Tensor:
        """Pictures of what is ``given``: (B, C, H, W) uint8.

        Args:
            given: B captions, a list of texts; or pictures (B, C', H, W) uint8 to be translated.
            generator: on the CPU, of everything random.
            how: what the kind of model offers, for example ``steps`` and ``guidance``.
        """
