"""The newest proposal of every item, as the batches bring them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from leaven.undo import RowBuffers


class LatestProposals(RowBuffers):
    """A table of what was last proposed for each item: equal shares before anything was.

    State: ``probs`` (n, K), ``seen`` (n,), 0 or 1.

    Args:
        items: n.
        num_classes: K.
        gather: joins the rows of all processes; None for one process.

    Source: the released codes of DARP and SAW. Used by: DARP, SAW.
    """

    by_rows: ClassVar[tuple[str, ...]] = ("probs", "seen")

    probs: Tensor
    seen: Tensor

    def __init__(
        self, items: int, num_classes: int, gather: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.gather = gather
        self.register_buffer("probs", torch.full((items, num_classes), 1 / num_classes))
        self.register_buffer("seen", torch.zeros(items))

    @torch.no_grad()
    def update(self, items: Tensor, probs: Tensor) -> None:
        """Keeps ``probs`` (B, K) of ``items`` (B,); rows that are not finite are passed over."""
        probs = probs.detach().to(self.probs)
        if self.gather is not None:
            items, probs = self.gather(items), self.gather(probs)
        finite = probs.isfinite().all(1)
        self.write("probs", items, torch.where(finite.unsqueeze(1), probs, self.probs[items]))
        self.write("seen", items, torch.where(finite, 1, self.seen[items]))

    def counts(self) -> Tensor:
        """(K,) how many of the seen items are given each class."""
        return torch.zeros_like(self.probs[0]).index_add(0, self.probs.argmax(1), self.seen)
