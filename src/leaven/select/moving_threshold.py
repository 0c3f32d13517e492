"""One confidence threshold that follows how sure the model is of its classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from leaven.select.thresholds import fixed_threshold


class MovingThreshold(nn.Module):
    """A running mean of the largest confidence of each class that is predicted.

    Per batch ``g = mean over the classes predicted of max confidence`` and
    ``level <- m level + (1 - m) g``. As every class counts alike, rare ones move it as frequent ones
    do. A batch without a valid pixel moves nothing.

    State: ``level`` (0-d).

    Args:
        num_classes: K.
        start: the first level, in [0, 1].
        momentum: m in [0, 1).
        gather: joins the rows of all processes; None for one process.

    Raises:
        ValueError: a number out of its range.

    Source: Sun et al., CorrMatch, CVPR 2024, https://github.com/BBBBchan/CorrMatch. Used by: 087.
    """

    level: Tensor

    def __init__(
        self,
        num_classes: int,
        start: float = 0.85,
        momentum: float = 0.999,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if not (0 <= start <= 1 and 0 <= momentum < 1):
            raise ValueError(f"start {start} is in [0, 1], momentum {momentum} in [0, 1)")
        self.num_classes, self.momentum, self.gather = num_classes, momentum, gather
        self.register_buffer("level", torch.tensor(float(start)))

    @torch.no_grad()
    def update(self, confidence: Tensor, classes: Tensor, valid: Tensor) -> None:
        """Learns from a batch.

        Args:
            confidence: (...) in [0, 1].
            classes: (...) int64 in 0..K-1.
            valid: (...) bool, the pixels that count.
        """
        shown = torch.where(valid, confidence, -1.0).flatten().to(self.level.dtype)
        highest = shown.new_full((self.num_classes,), -1.0)
        highest = highest.scatter_reduce(0, classes.flatten(), shown, "amax")
        if self.gather is not None:
            highest = self.gather(highest[None]).amax(0)
        found = highest >= 0
        mean = (highest * found).sum() / found.sum().clamp_min(1)
        moved = torch.lerp(self.level, mean, 1 - self.momentum)
        self.level.copy_(torch.where(found.any(), moved, self.level))

    def forward(self, confidence: Tensor) -> Tensor:
        """Weights, 0 or 1, of the shape of ``confidence``: 1 where it reaches the level."""
        return fixed_threshold(confidence, self.level)
