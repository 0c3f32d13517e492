"""How well noise is told from pictures that were not learned from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from leaven.synthesize.noise_schedule import NoiseSchedule


@torch.no_grad()
def denoising_error(
    say: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    schedule: NoiseSchedule,
    generator: torch.Generator,
    first: int = 0,
) -> Tensor:
    """(B,) squared error of the noise, mean over the values; the same noise at every call.

    Item i has the step ``(i + first) g mod N`` with g near the golden section of N, so that the items
    of a set are spread evenly over all steps, whatever their number.

    Args:
        say: noisy latents (B, c, H, W) and steps (B,) -> the noise, c channels or more.
        clean: (B, c, H, W).
        schedule: of the noise.
        generator: on the CPU.
        first: the number of the first item.

    Used by: 001.
    """
    numbers = torch.arange(first, first + len(clean))
    steps = (numbers * round(0.618 * schedule.steps) % schedule.steps).to(clean.device)
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    said = say(schedule.add_noise(clean, noise, steps), steps).float()
    return (said[:, : clean.shape[1]] - noise).square().flatten(1).mean(1)
