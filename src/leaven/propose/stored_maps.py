"""What was said of the pixels of a whole set at one moment, for later steps to learn."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from leaven.labels.pixels import inside


class StoredMaps(nn.Module):
    """A class and a confidence for each pixel of ``n`` pictures, a byte each.

    Confidences are rounded to whole 255ths.

    State: ``classes`` and ``confidence`` (n, H, W) uint8, and ``mean``, 0-d, the mean confidence of
    the pixels that show a picture.

    Args:
        count: n.
        size: height and width.

    Used by: 086.
    """

    classes: Tensor
    confidence: Tensor
    mean: Tensor

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        super().__init__()
        for name in ("classes", "confidence"):
            self.register_buffer(name, torch.zeros(count, *size, dtype=torch.uint8))
        self.register_buffer("mean", torch.zeros(()))

    def fill(self, batches: Iterable[Tensor], extents: Tensor | None = None) -> None:
        """Keeps the most probable class of each pixel, of all pictures in their order.

        Args:
            batches: (b, K, H, W) probabilities, K at most 256, of n pictures in all.
            extents: (n, 2) int64, height and width of the part in the upper left that shows each
                picture; None where all of it does. What lies beside it has no confidence.
        """
        first, total = 0, 0.0
        pixels = self.classes.numel() if extents is None else int(extents.prod(1).sum())
        for probs in batches:
            confidence, classes = probs.max(1)
            rows = slice(first, first + len(probs))
            if extents is not None:
                shown = inside(extents[rows].to(classes.device), classes.shape[1:])
                confidence = confidence * shown
            self.classes[rows] = classes.to(self.classes)
            self.confidence[rows] = (confidence.float() * 255).round().to(self.confidence)
            total += float(confidence.double().sum())
            first += len(probs)
        assert first == len(self.classes), f"{first} pictures for {len(self.classes)}"
        self.mean.fill_(total / max(1, pixels))

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Of the pictures ``items`` (b,): classes (b, H, W) int64 and confidence float32 in [0, 1]."""
        return self.classes[items].long(), self.confidence[items].float() / 255
