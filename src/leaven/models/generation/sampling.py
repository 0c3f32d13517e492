"""From noise to latents, by the solvers of diffusers with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from leaven.errors import ConfigError, nearest
from leaven.models.generation.libraries import library

Network = Callable[..., Tensor]
"""``network(latents, steps, *given)``: a ``TextTransformer`` with text and mask, and size and ratio;
or a ``ClassTransformer`` with classes."""


_STEPS = 1000
_BETAS = (1e-4, 0.02)


@dataclass(frozen=True, slots=True)
class Sampler:
    """A scheduler of diffusers and how it is used.

    Attributes:
        scheduler: the name of its class.
        options: further arguments.
        variance: it takes noise and raw variance, 2c channels, in the place of noise alone.
        guided: the first channels that guidance acts on; None for all of them.
    """

    scheduler: str
    options: dict[str, Any] = field(default_factory=dict)
    variance: bool = False
    guided: int | None = None


SAMPLERS = {
    "dpm++": Sampler(
        "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}
    ),
    "ddim": Sampler(
        "DDIMScheduler",
        {"clip_sample": False, "set_alpha_to_one": True, "timestep_spacing": "trailing"},
    ),
    "iddpm": Sampler(
        "DDPMScheduler",
        {
            "clip_sample": False,
            "timestep_spacing": "linspace",
            "variance_type": "learned_range",
        },
        variance=True,
        guided=3,
    ),
    "sa": Sampler("SASolverScheduler", {"predictor_order": 2, "corrector_order": 2}),
}
"""By name: DPM-Solver++ 2M (20 steps), DDIM, ancestral sampling with learned variance (100 steps),
SA-Solver (25 steps). ``iddpm`` guides three channels alone, as DiT and after it PixArt-alpha do."""


def guided_noise(conditional: Tensor, unconditional: Tensor, weight: float) -> Tensor:
    """``unconditional + weight (conditional - unconditional)``.

    ``weight`` 1 is the conditional one and 0 the unconditional one. In ``leaven.synthesize.guided``
    the same guidance is called ``weight - 1``.

    Source: Ho and Salimans, Classifier-free diffusion guidance, 2022. Used by: 001.
    """
    return torch.lerp(unconditional, conditional, weight)


@torch.no_grad()
def sample_latents(
    network: Network,
    given: Sequence[Tensor],
    nothing: Sequence[Tensor],
    shape: tuple[int, int, int],
    generator: torch.Generator | Sequence[torch.Generator],
    *,
    sampler: str = "dpm++",
    steps: int = 20,
    guidance: float = 4.5,
) -> Tensor:
    """Latents from noise: ``steps`` evaluations, with guidance on twice the batch.

    Noise is predicted for linear betas from 1e-4 to 0.02 over 1000 steps. At ``guidance`` 1 only
    ``given`` is evaluated, at 0 only ``nothing``.

    Args:
        network: with averaged weights, in eval mode; gives c channels, or 2c with the raw variance,
            which ``iddpm`` uses and the others drop.
        given: what each latent is to show: tensors of B rows on the device of the network.
        nothing: the same tensors for a latent of anything; for captions the null caption with the
            mask of the caption.
        shape: (c, H, W).
        generator: on the CPU, of everything random; or one for each latent, so that it does not
            depend on the others of the batch.
        sampler: a name of ``SAMPLERS``.

    Returns:
        (B, c, H, W) float, on the device of ``given``.

    Raises:
        ConfigError: no sampler of that name, or a number of steps that is not in 1..1000.
        MissingExtraError: without diffusers.

    Source: Lu et al., DPM-Solver++, 2022; Nichol and Dhariwal, Improved DDPM, ICML 2021; Xue et al.,
    SA-Solver, NeurIPS 2023. Used by: 001.
    """
    how = _sampler(sampler, steps)
    scheduler = _scheduler(how)
    scheduler.set_timesteps(steps, device=given[0].device)
    evaluate = _Guided(network, given, nothing, guidance, how.guided or shape[0])
    each = generator if isinstance(generator, torch.Generator) else list(generator)
    latents = _noise((len(given[0]), *shape), each).to(given[0].device)
    for step in scheduler.timesteps:
        noise, variance = evaluate(latents, step.expand(len(latents)))
        output = torch.cat([noise, variance], 1) if how.variance else noise
        latents = scheduler.step(output, step, latents, generator=each).prev_sample
    return latents


def _noise(shape: tuple[int, ...], generator: torch.Generator | list[torch.Generator]) -> Tensor:
    from diffusers.utils.torch_utils import randn_tensor

    return randn_tensor(shape, generator=generator)


class _Guided:
    """The network with guidance: what it takes for the noise, and the raw variance."""

    def __init__(
        self,
        network: Network,
        given: Sequence[Tensor],
        nothing: Sequence[Tensor],
        weight: float,
        guided: int,
    ) -> None:
        self.network, self.weight, self.guided = network, weight, guided
        self.one = {1.0: given, 0.0: nothing}.get(float(weight))
        self.both = [torch.cat(pair) for pair in zip(given, nothing, strict=True)]

    def __call__(self, latents: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        channels = latents.shape[1]
        if self.one is not None:
            output = self.network(latents, steps, *self.one).float()
        else:
            twice = self.network(latents.repeat(2, 1, 1, 1), steps.repeat(2), *self.both).float()
            output, unconditional = twice.chunk(2)
            part = min(self.guided, channels)
            pushed = guided_noise(output[:, :part], unconditional[:, :part], self.weight)
            output = torch.cat([pushed, output[:, part:]], 1)
        noise, variance = output[:, :channels], output[:, channels:]
        # Without a variance of its own the one of the posterior is taken, which is the lower bound.
        return noise, variance if variance.shape[1] else torch.full_like(noise, -1.0)


def _sampler(name: str, steps: int) -> Sampler:
    if name not in SAMPLERS:
        raise ConfigError(
            f"There is no sampler {name!r}.",
            "one of " + ", ".join(SAMPLERS),
            nearest(name, SAMPLERS),
        )
    if not 1 <= steps <= _STEPS:
        raise ConfigError(
            f"Pictures cannot be made in {steps} steps.",
            f"1 to {_STEPS} steps",
            "20 steps do for dpm++, 25 for sa, 100 for iddpm.",
        )
    return SAMPLERS[name]


def _scheduler(how: Sampler) -> Any:
    diffusers = library("diffusers", "making pictures by diffusion")
    return getattr(diffusers, how.scheduler)(
        num_train_timesteps=_STEPS,
        beta_start=_BETAS[0],
        beta_end=_BETAS[1],
        beta_schedule="linear",
        **how.options,
    )
