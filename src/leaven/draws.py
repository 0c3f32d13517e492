"""Random numbers for batches: every sample has its own row of draws.

One source of randomness is passed to views and parts. With several processes each one holds a
slice of the global batch; the draws are made for the global batch and sliced the same way, so
the same sample meets the same draw however many processes there are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Draws:
    """A seeded source of per-sample random numbers that can be saved and restored.

    The generator lives on the CPU, so that a seed means the same on every device; draws are a few
    numbers per sample and are moved to ``device`` without a wait.

    Args:
        seed: the seed; equal seeds give equal sequences.
        device: where the drawn tensors are wanted.
        rank, world: this process's number and the number of processes. Draws for ``n`` samples
            are rows ``rank, rank + world, ...`` of the draws for ``n * world`` samples.
    """

    def __init__(
        self, seed: int, device: torch.device | str = "cpu", rank: int = 0, world: int = 1
    ) -> None:
        self.device = torch.device(device)
        self.rank, self.world = rank, world
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, n: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """``(n, *shape)`` float32 draws, uniform in [low, high)."""
        drawn = torch.rand(n * self.world, *shape, generator=self.generator)
        return self._mine(drawn * (high - low) + low)

    def normal(self, n: int, *shape: int) -> Tensor:
        """``(n, *shape)`` float32 standard normal draws."""
        return self._mine(torch.randn(n * self.world, *shape, generator=self.generator))

    def integers(self, n: int, *shape: int, high: int, low: int = 0) -> Tensor:
        """``(n, *shape)`` int64 draws, uniform in low, ..., high - 1."""
        drawn = torch.randint(low, high, (n * self.world, *shape), generator=self.generator)
        return self._mine(drawn)

    def flags(self, n: int, *shape: int, probability: float = 0.5) -> Tensor:
        """``(n, *shape)`` bool draws, true with the given probability."""
        return self.uniform(n, *shape) < probability

    def beta(self, alpha: float, n: int | None = None) -> Tensor:
        """Beta(alpha, alpha) draws: a 0-d tensor shared by the batch, or ``(n,)`` of them.

        As ``alpha`` tends to 0 the mass moves to 0 and 1; ``alpha = 0`` returns 1 (no mixing).
        """
        count = 1 if n is None else n * self.world
        if alpha == 0:
            drawn = torch.ones(count)
        else:
            # Gamma(alpha) = Gamma(alpha + 1) * U^(1 / alpha), as logarithms: a small alpha would
            # underflow, and 0 / 0 is no draw.
            shape = torch.full((2, count), alpha + 1.0, dtype=torch.float64)
            log_gamma = torch._standard_gamma(shape, generator=self.generator).log()
            uniform = torch.rand(2, count, dtype=torch.float64, generator=self.generator)
            log_gamma += uniform.clamp_min(torch.finfo(torch.float64).tiny).log() / alpha
            drawn = torch.sigmoid(log_gamma[0] - log_gamma[1]).float()
        return drawn[0].to(self.device, non_blocking=True) if n is None else self._mine(drawn)

    def permutation(self, n: int) -> Tensor:
        """A ``(n,)`` int64 random permutation of the samples of this process."""
        return torch.randperm(n, generator=self.generator).to(self.device, non_blocking=True)

    def categorical(self, probs: Tensor) -> Tensor:
        """One class index per row of ``probs`` (n, K): ``(n,)`` int64, by the inverse of the CDF."""
        # Half precision would round a draw up to 1.
        cumulative = probs.float().cumsum(1)
        threshold = self.uniform(len(probs), 1).to(probs.device)
        below = cumulative <= threshold * cumulative[:, -1:]
        return below.sum(1).clamp_max(probs.shape[1] - 1)

    def host(self) -> Draws:
        """The same source with its draws left on the CPU: both draw from one sequence."""
        twin = Draws(0, "cpu", self.rank, self.world)
        twin.generator = self.generator
        return twin

    def fork(self) -> Draws:
        """An independent source, seeded from this one."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        return Draws(seed, self.device, self.rank, self.world)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"].cpu())

    def _mine(self, drawn: Tensor) -> Tensor:
        return drawn[self.rank :: self.world].to(self.device, non_blocking=True)
