"""First-in, first-out queues of features, one of its own length for each class, in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.undo import RowBuffers


class ClassQueues(RowBuffers):
    """Keeps the latest features that were pushed for each class, and draws from them.

    A feature may go to several classes at once: pixels that are certainly not a car and certainly
    not a tree serve both as negatives.

    State: ``bank`` (sum of sizes, D), in which the queues lie one after the other; ``filled`` and
    ``position`` (K,). No gradient reaches the bank.

    Args:
        sizes: K lengths, each at least 1.
        dim: D.

    Raises:
        ValueError: no class, no width, or a length below 1.

    Source: Wang et al., U2PL, CVPR 2022. Used by: 054, 117.
    """

    by_rows: ClassVar[tuple[str, ...]] = ("bank",)

    bank: Tensor
    filled: Tensor
    position: Tensor
    sizes: Tensor
    starts: Tensor

    def __init__(self, sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        if not sizes or min(*sizes, dim) < 1:
            raise ValueError(f"sizes and width are at least 1, not {list(sizes)} and {dim}")
        self.register_buffer("bank", torch.zeros(sum(sizes), dim))
        # Floating, so that a step that fails takes them back together with the bank.
        self.register_buffer("filled", torch.zeros(len(sizes), dtype=torch.float64))
        self.register_buffer("position", torch.zeros(len(sizes), dtype=torch.float64))
        lengths = torch.tensor(list(sizes))
        self.register_buffer("sizes", lengths, persistent=False)
        self.register_buffer("starts", lengths.cumsum(0) - lengths, persistent=False)

    @torch.no_grad()
    def push(self, features: Tensor, member: Tensor) -> None:
        """Appends to each queue the features that belong to it, in their order; the oldest go.

        With several processes every one needs the rows of all.

        Args:
            features: (P, D), detached here.
            member: (P, K) bool, which queues each feature goes to.
        """
        counts = member.sum(0)
        rank = member.long().cumsum(0) - 1
        # Of more features than a queue is long, only the last stay.
        stays = member & (rank >= counts - self.sizes)
        slots = self.starts + (self.position.long() + rank) % self.sizes
        # One wait for the device: without it every feature would be written K times.
        row, queue = stays.nonzero(as_tuple=True)
        self.write("bank", slots[row, queue], features.detach()[row].to(self.bank.dtype))
        self.filled.copy_((self.filled + counts).minimum(self.sizes))
        self.position.copy_((self.position + counts) % self.sizes)

    def draw(self, count: int, each: int, draws: Draws) -> Tensor:
        """(K, count, each, D): features of each queue, uniform with replacement.

        Zeros where a queue is still empty.
        """
        chance = draws.uniform(len(self.sizes), count, each).to(self.bank.device)
        filled = self.filled.long()[:, None, None]
        place = (chance * filled).long().minimum((filled - 1).clamp_min(0))
        return self.bank[self.starts[:, None, None] + place]
