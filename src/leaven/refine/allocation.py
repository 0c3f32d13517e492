"""Sinkhorn allocation: proposals whose classes come out in the shares that are wanted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from leaven.refine.alignment import target_shares


def allocation_scale(
    probs: Tensor, target: Tensor, start: Tensor, iterations: int, limit: float
) -> Tensor:
    """The factors of the classes for which reweighed proposals have the wanted mean.

    Solves ``mean_i normalise(p_ik u_k) = target_k`` for ``u`` by the iteration
    ``u_k <- u_k target_k / mean_i normalise(p_ik u_k)`` (Sinkhorn and Knopp, 1967), with every
    ``u_k`` kept in [1 / limit, limit] and their geometric mean at 1. Rows of zeros do not count.

    Args:
        probs: (n, K), rows that sum to 1, or to 0 where there is nothing yet.
        target: (K,) positive shares that sum to 1.
        start: (K,) positive, where to begin.
        iterations: >= 1.
        limit: > 1.

    Returns:
        (K,) factors.
    """
    scale, filled = start, (probs.sum(1) > 0).sum().clamp_min(1)
    least = torch.finfo(probs.dtype).eps
    for _ in range(iterations):
        scaled = probs * scale
        mean = (scaled / scaled.sum(1, keepdim=True).clamp_min(least)).sum(0) / filled
        logs = (scale * target / mean.clamp_min(least)).log()
        scale = (logs - logs.mean()).exp().clamp(1 / limit, limit)
    return scale


class SinkhornAllocation(nn.Module):
    """Proposals aligned so that the classes of the last items have exactly the wanted shares.

    Distribution alignment divides by the mean proposal once, which hardly moves confident
    proposals. Here the division is repeated until the *aligned* proposals of the last ``length``
    items have the mean ``target`` (see ``allocation_scale``): when a class is claimed too often,
    its least certain items go to the class that lacks them.

    State: ``queue`` (length, K) of proposals, ``position`` (0-d), ``scale`` (K,), ``target`` (K,).

    Args:
        num_classes: K.
        target: (K,) positive shares, for example those of the labelled items; uniform when None.
            Right only where the unlabelled items are spread like that.
        length: items to remember, >= 1; many times K.
        iterations: per batch; the factors go on from those of the batch before.
        limit: the largest factor of a class, > 1.
        gather: joins the rows of all processes; None for one process.

    Raises:
        ValueError: a target that is not K positive shares, no length, no iteration, or a limit
            that is not above 1.

    Source: Tai, Bailis and Valiant, Sinkhorn Label Allocation, ICML 2021, here on a queue and
    without its annealed total. Used by: FixMatch.
    """

    queue: Tensor
    position: Tensor
    scale: Tensor
    target: Tensor

    def __init__(
        self,
        num_classes: int,
        target: Tensor | None = None,
        length: int = 1024,
        iterations: int = 3,
        limit: float = 100.0,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if length < 1 or iterations < 1 or limit <= 1:
            raise ValueError(
                f"length {length} and iterations {iterations} are at least 1, limit {limit} above 1"
            )
        self.iterations, self.limit, self.gather = iterations, limit, gather
        self.register_buffer("target", target_shares(num_classes, target))
        self.register_buffer("queue", torch.zeros(length, num_classes))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scale", torch.ones(num_classes))

    @torch.no_grad()
    def forward(self, probs: Tensor) -> Tensor:
        """Remembers ``probs`` (B, K), then aligns them: (B, K). Rows that are not finite pass
        through and are not remembered."""
        self.update(probs)
        aligned = probs * self.scale.to(torch.promote_types(probs.dtype, self.scale.dtype))
        return (aligned / aligned.sum(1, keepdim=True)).to(probs.dtype)

    @torch.no_grad()
    def update(self, probs: Tensor) -> None:
        """Remembers ``probs`` (B, K) in place of the oldest and finds the factors anew."""
        rows = probs.detach().to(self.queue.dtype)
        rows = rows if self.gather is None else self.gather(rows)
        rows = torch.where(rows.isfinite().all(1, keepdim=True), rows, 0.0)[-len(self.queue) :]
        index = (self.position + torch.arange(len(rows), device=rows.device)) % len(self.queue)
        self.queue.index_copy_(0, index, rows)
        self.position.copy_((self.position + len(rows)) % len(self.queue))
        self.scale.copy_(
            allocation_scale(self.queue, self.target, self.scale, self.iterations, self.limit)
        )
