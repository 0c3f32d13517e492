"""Proposals smoothed by those of similar items in the last batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.undo import RowBuffers


class NeighbourMemory(RowBuffers):
    """Keeps embeddings and class distributions of past items, labelled and not, in a ring.

    ``p_i <- share * p_i + (1 - share) * sum_m a_im P_m`` with
    ``a_im = softmax_m( cos(z_i, Z_m) / temperature )`` over the ``size`` newest items, whose
    embeddings are ``Z`` and distributions ``P``. Until the ring is full nothing is smoothed.

    What is put in should be the distributions as they were before smoothing, and one-hot rows of
    labelled items: then what the memory says is never its own echo.

    State: ``embeddings`` (size, D), ``probs`` (size, K), ``written`` (0-d), the items so far.

    Args:
        size: items to remember, >= 1.
        dim: D.
        num_classes: K.
        gather: joins the rows of all processes; None for one process.

    Raises:
        ValueError: no room for an item.

    Source: Li et al., CoMatch, ICCV 2021. Used by: CoMatch.
    """

    by_rows: ClassVar[tuple[str, ...]] = ("embeddings", "probs")

    embeddings: Tensor
    probs: Tensor
    written: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        num_classes: int,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a memory holds at least one item, not {size}")
        self.gather = gather
        self.register_buffer("embeddings", torch.zeros(size, dim))
        self.register_buffer("probs", torch.zeros(size, num_classes))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    def smooth(self, probs: Tensor, embeddings: Tensor, temperature: float, share: float) -> Tensor:
        """``probs`` (B, K) moved towards those of the items that are similar.

        Args:
            probs: (B, K), rows that sum to 1.
            embeddings: (B, D), of any length.
            temperature: > 0.
            share: of ``probs`` in the result, in [0, 1].

        Returns:
            (B, K), rows that sum to 1, in the dtype of ``probs``.

        Raises:
            ValueError: a temperature or share out of its range.
        """
        if temperature <= 0 or not 0 <= share <= 1:
            raise ValueError(f"temperature > 0 and share in [0, 1], not {temperature}, {share}")
        units = F.normalize(embeddings.detach().to(self.embeddings.dtype), dim=1)
        similarity = units @ self.embeddings.t()
        neighbours = (similarity / temperature).softmax(1) @ self.probs
        smoothed = torch.lerp(neighbours.to(probs.dtype), probs, share)
        return torch.where(self.written >= len(self.probs), smoothed, probs)

    @torch.no_grad()
    def update(self, embeddings: Tensor, probs: Tensor) -> None:
        """Puts items in the place of the oldest; of more than ``size`` only the last count.

        Rows that are not finite are not taken: what was in their place stays.

        Args:
            embeddings: (B, D), of any length; kept at length 1.
            probs: (B, K).
        """
        if self.gather is not None:
            embeddings, probs = self.gather(embeddings), self.gather(probs)
        count, size = len(probs), len(self.probs)
        first = max(0, count - size)
        offsets = torch.arange(first, count, device=self.written.device)
        rows = (self.written + offsets) % size
        units = F.normalize(embeddings[first:].detach().to(self.embeddings.dtype), dim=1)
        probs = probs[first:].detach().to(self.probs.dtype)
        valid = (units.isfinite().all(1) & probs.isfinite().all(1)).unsqueeze(1)
        self.write("embeddings", rows, torch.where(valid, units, self.embeddings[rows]))
        self.write("probs", rows, torch.where(valid, probs, self.probs[rows]))
        self.written += count
