"""How much noise there is at each of the steps of a discrete diffusion model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoiseSchedule(nn.Module):
    """Noise with linear betas: ``beta_t`` from ``first`` to ``last``, ``abar_t = prod_s (1 - beta_s)``.

    Its tables are buffers of N values that are computed in float64, kept in float32 and not saved.

    Args:
        steps: N.
        first, last: betas at t = 0 and t = N - 1.

    Attributes:
        alphas_bar: ``abar_t``.
        log_betas: ``ln beta_t``, the largest log-variance of the way back.
        log_posterior: ``ln betatilde_t`` with
            ``betatilde_t = beta_t (1 - abar_(t-1)) / (1 - abar_t)``, the smallest; at t = 0, where
            it is ln 0, the value at t = 1.

    Source: Ho et al., DDPM, NeurIPS 2020; Nichol and Dhariwal, ICML 2021. Used by: 001.
    """

    alphas_bar: Tensor
    log_betas: Tensor
    log_posterior: Tensor
    _of_clean: Tensor
    _of_noisy: Tensor

    def __init__(self, steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> None:
        super().__init__()
        self.steps = steps
        betas = torch.linspace(first, last, steps, dtype=torch.float64)
        after = (1 - betas).cumprod(0)
        before = torch.cat([after.new_ones(1), after[:-1]])
        posterior = betas * (1 - before) / (1 - after)
        tables = {
            "alphas_bar": after,
            "log_betas": betas.log(),
            "log_posterior": torch.cat([posterior[1:2], posterior[1:]]).log(),
            "_of_clean": betas * before.sqrt() / (1 - after),
            "_of_noisy": (1 - before) * (1 - betas).sqrt() / (1 - after),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float(), persistent=False)

    def add_noise(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """``sqrt(abar_t) clean + sqrt(1 - abar_t) noise``.

        Args:
            clean, noise: (B, c, H, W), noise standard normal.
            steps: (B,) int64 in 0..N-1.
        """
        kept = self.at(self.alphas_bar, steps)
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise

    def clean_of(self, noisy: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """What is left without the noise: the inverse of ``add_noise``, (B, c, H, W)."""
        kept = self.at(self.alphas_bar, steps)
        return (noisy - (1 - kept).sqrt() * noise) / kept.sqrt()

    def posterior_mean(self, clean: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
        """The mean of ``q(x_(t-1) | x_t, x_0)``, (B, c, H, W); at t = 0 it is ``clean``.

        ``(sqrt(abar_(t-1)) beta_t x_0 + sqrt(1 - beta_t) (1 - abar_(t-1)) x_t) / (1 - abar_t)``.
        """
        return self.at(self._of_clean, steps) * clean + self.at(self._of_noisy, steps) * noisy

    @staticmethod
    def at(table: Tensor, steps: Tensor) -> Tensor:
        """Values of a table at steps (B,), as (B, 1, 1, 1)."""
        return table[steps].view(-1, 1, 1, 1)
