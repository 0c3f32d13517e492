"""What the pixels of a batch are believed to show: one form for every kind of evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from leaven.learn import mix


@dataclass(frozen=True)
class Shown:
    """Views of a batch of pictures, and what is believed of their pixels.

    Attributes:
        images: (B, C, H, W) uint8.
        classes: (B, H, W) int64, -1 where unknown.
        given: (B, H, W) bool, the class comes from people.
        proposed: (B, H, W) bool, the class comes from the teacher. Pixels that are neither have no
            class, or show no picture.
        truth: (B, H, W) int64, what is true where the class is proposed, -1 where that is not known;
            for curves.
        allowed: (B, K, H, W) bool, the classes that a pixel may have; None where all are.
    """

    images: Tensor
    classes: Tensor
    given: Tensor
    proposed: Tensor
    truth: Tensor
    allowed: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def pasted(self, mask: Tensor, other: Shown) -> Shown:
        """What is seen with the pixels ``mask`` (B, H, W) bool of ``other`` pasted over."""
        return self._with(other, lambda own, that: mix(mask, own, that))

    def joined(self, other: Shown) -> Shown:
        """These pictures, then those of ``other``."""
        return self._with(other, lambda own, that: torch.cat([own, that]))

    def rows(self, index: Tensor) -> Shown:
        """The pictures at ``index`` (b,) int64."""
        return self._with(self, lambda own, _: own[index])

    def _with(self, other: Shown, join: Callable[[Tensor, Tensor], Tensor]) -> Shown:
        names = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        return Shown(**{name: join(getattr(self, name), getattr(other, name)) for name in names})
