"""What was said of every item so far, as a running mean of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from leaven.undo import RowBuffers


class ItemAverage(RowBuffers):
    """Joins what is said of an item now with the running mean of what was said before.

    ``p = present * now + (1 - present) * mean_i``, then ``mean_i <- momentum * mean_i +
    (1 - momentum) * p``. At the first visit of an item ``mean_i = now``. The mean belongs to the
    item and not to its place in a batch, so the order of batches does not matter.

    State: ``means`` (n, K), ``seen`` (n,) 0 or 1.

    Args:
        num_items: n.
        num_classes: K.
        present: share of what is said now, in [0, 1]; 1 leaves the history out.
        momentum: in [0, 1]; 1 leaves the mean at what was said first.
        gather: joins the rows of all processes; None for one process.

    Raises:
        ValueError: a share or momentum outside [0, 1].

    Source: Laine and Aila, Temporal ensembling, ICLR 2017; equations of SPARSE, 2026. Used by: 050.
    """

    by_rows: ClassVar[tuple[str, ...]] = ("means", "seen")

    means: Tensor
    seen: Tensor

    def __init__(
        self,
        num_items: int,
        num_classes: int,
        present: float = 0.6,
        momentum: float = 0.99,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if not (0 <= present <= 1 and 0 <= momentum <= 1):
            raise ValueError(f"share and momentum are in [0, 1], not {present} and {momentum}")
        self.present, self.momentum, self.gather = present, momentum, gather
        self.register_buffer("means", torch.zeros(num_items, num_classes))
        # Floating, so that a step that fails takes it back together with the means.
        self.register_buffer("seen", torch.zeros(num_items))

    @torch.no_grad()
    def forward(self, items: Tensor, probs: Tensor) -> Tensor:
        """(B, K) joined rows of ``items`` (B,), of which ``probs`` (B, K) are said now."""
        probs = probs.to(self.means.dtype)
        known = self.seen[items].unsqueeze(1) > 0
        before = torch.where(known, self.means[items], probs)
        joined = torch.lerp(before, probs, self.present)
        after = torch.lerp(joined, before, self.momentum)
        if self.gather is not None:
            items, after = self.gather(items), self.gather(after)
        self.write("means", items, after)
        self.write("seen", items, 1)
        return joined
