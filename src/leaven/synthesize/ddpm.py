"""What a discrete diffusion model learns: the noise, and how uncertain the way back is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.synthesize.learned_variance import variational_bound
from leaven.synthesize.noise_schedule import NoiseSchedule


class DdpmLoss(NamedTuple):
    """Terms of the loss of each picture.

    Attributes:
        noise: (B,) squared error of the noise, mean over the values.
        bound: (B,) bits per value; 0 where the network says nothing of the variance.
    """

    noise: Tensor
    bound: Tensor

    @property
    def total(self) -> Tensor:
        """0-d, the mean of the sum."""
        return (self.noise + self.bound).mean()


def draw_steps(draws: Draws, n: int, schedule: NoiseSchedule) -> Tensor:
    """(n,) int64 steps, uniform in 0..N-1."""
    return draws.integers(n, high=schedule.steps)


def drop_captions(text: Tensor, null: Tensor, probability: float, draws: Draws) -> Tensor:
    """(B, T, C_t) the captions, each replaced by ``null`` with ``probability``; masks stay.

    So one network learns the pictures of a caption and those of any, which guidance needs.

    Args:
        text: (B, T, C_t) features in front of the network's MLP.
        null: (T, C_t) the fixed caption that says nothing; ``TextTransformer.null``.

    Source: Ho and Salimans, 2022; Chen et al., PixArt-alpha, ICLR 2024. Used by: 001.
    """
    dropped = draws.flags(len(text), probability=probability).to(text.device)
    return torch.where(dropped[:, None, None], null.to(text.dtype), text)


def ddpm_loss(
    output: Tensor,
    clean: Tensor,
    noisy: Tensor,
    noise: Tensor,
    steps: Tensor,
    schedule: NoiseSchedule,
) -> DdpmLoss:
    """``mean (eps_hat - eps)^2`` and, where ``output`` has 2c channels, the variational bound.

    The bound is not scaled, and takes the predicted mean as given: it teaches the variance alone,
    the squared error the noise alone.

    Args:
        output: (B, c, H, W) or (B, 2c, H, W), the noise and the raw variance.
        clean, noisy, noise: (B, c, H, W), ``noisy`` from ``NoiseSchedule.add_noise``.
        steps: (B,) int64.

    Source: Nichol and Dhariwal, Improved DDPM, ICML 2021. Used by: 001.
    """
    output = output.float()
    predicted, raw = output[:, : clean.shape[1]], output[:, clean.shape[1] :]
    error = (predicted - noise).square().flatten(1).mean(1)
    if raw.shape[1] == 0:
        return DdpmLoss(error, torch.zeros_like(error))
    return DdpmLoss(error, variational_bound(predicted, raw, clean, noisy, steps, schedule))
