"""A variance that is learned: what the network says of it, and the bound that teaches it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from leaven.synthesize.noise_schedule import NoiseSchedule

_HALF_STEP = 1 / 255
"""Half the distance of two values of an 8-bit picture in [-1, 1]."""


def log_variance(raw: Tensor, steps: Tensor, schedule: NoiseSchedule) -> Tensor:
    """``u ln beta_t + (1 - u) ln betatilde_t`` with ``u = (raw + 1) / 2``.

    The variance is ``beta_t`` at raw 1 and ``betatilde_t`` at raw -1; values outside are not cut.

    Args:
        raw: (B, c, H, W), the second half of what the network gives.
        steps: (B,) int64.

    Source: Nichol and Dhariwal, Improved DDPM, ICML 2021. Used by: 001.
    """
    share = (raw + 1) / 2
    most, least = (
        schedule.at(table, steps) for table in (schedule.log_betas, schedule.log_posterior)
    )
    return share * most + (1 - share) * least


def variational_bound(
    noise: Tensor, raw: Tensor, clean: Tensor, noisy: Tensor, steps: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """The term of the variational bound at each step, in bits per value.

    For t > 0 ``KL(q(x_(t-1) | x_t, x_0) || N(mean, variance))``, for t = 0 the negative
    log-likelihood of ``clean`` as values of 8 bits. The mean follows from the predicted noise and
    takes no gradient: the bound teaches the variance alone.

    Args:
        noise: (B, c, H, W), what the network takes for the noise.
        raw: (B, c, H, W), what it says of the variance; see ``log_variance``.
        clean, noisy: (B, c, H, W), ``x_0`` and ``x_t``.
        steps: (B,) int64.

    Returns:
        (B,), >= 0 up to rounding.

    Source: Nichol and Dhariwal, Improved DDPM, ICML 2021. Used by: 001.
    """
    predicted = schedule.clean_of(noisy, noise.detach(), steps)
    mean = schedule.posterior_mean(predicted, noisy, steps)
    spread = log_variance(raw, steps, schedule)
    true_mean = schedule.posterior_mean(clean, noisy, steps)
    true_spread = schedule.at(schedule.log_posterior, steps)
    divergence = normal_divergence(true_mean, true_spread, mean, spread)
    likelihood = discretised_log_likelihood(clean, mean, spread / 2)
    nats = torch.where(steps.view(-1, 1, 1, 1) == 0, -likelihood, divergence)
    return nats.flatten(1).mean(1) / math.log(2)


def normal_divergence(
    mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor
) -> Tensor:
    """``KL(N(m1, v1) || N(m2, v2)) = (ln(v2 / v1) + v1 / v2 + (m1 - m2)^2 / v2 - 1) / 2`` of each
    value, in nats.

    Used by: 001.
    """
    apart = (mean - other_mean).square() * (-other_log_variance).exp()
    gap = log_variance - other_log_variance
    return (gap.exp() - gap - 1 + apart) / 2


def discretised_log_likelihood(values: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """``ln P(x)`` of each value as one of 256 in [-1, 1], under N(mean, std^2), in nats.

    ``P(x)`` is the mass between ``x - 1/255`` and ``x + 1/255``; below -0.999 the lower end and
    above 0.999 the upper end is open. Mass is counted as 1e-12 at least.

    Source: Ho et al., DDPM, NeurIPS 2020. Used by: 001.
    """
    centred, sharpness = values - mean, (-log_std).exp()
    above = torch.special.ndtr(sharpness * (centred + _HALF_STEP))
    below = torch.special.ndtr(sharpness * (centred - _HALF_STEP))
    above = torch.where(values > 0.999, torch.ones_like(above), above)
    below = torch.where(values < -0.999, torch.zeros_like(below), below)
    return (above - below).clamp_min(1e-12).log()
