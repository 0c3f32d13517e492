"""A training step of a diffusion transformer: leaven beside a step written with diffusers alone.

Both take the same noisy latents of 256 px, captions of 120 tokens and weights of
``PixArtTransformer2DModel``, AdamW, a clipped gradient and an average of the weights. The step of
diffusers is that of its example for text-to-image: ``DDPMScheduler.add_noise``, the squared error of
the noise, ``EMAModel``. That of leaven has besides the bound that teaches the variance, and dropped
captions. Data are made up and lie in memory, as cached features do. Steps of the two take turns.

Memory is the highest of a process of its own, on a GPU that of torch's allocator. XL/2 is measured
on a GPU alone, in bf16 and with checkpointing of activations.

    python -m benchmarks.diffusion_training [--quick]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_

from benchmarks.common import compare, save
from leaven.draws import Draws
from leaven.models.generation import SHAPES, TextTransformer, TransformerShape, forward_flops
from leaven.synthesize import NoiseSchedule, ddpm_loss, draw_steps, drop_captions
from leaven.train import EMA

SIDES = ("leaven", "diffusers")
SHALLOW = replace(SHAPES["small"], blocks=2)
"""Two of the twelve blocks, for --quick."""

_STEPS_OF_MEMORY = 3


@dataclass(frozen=True)
class Case:
    """What is measured: a network, pictures per step, the device, and whether in bf16."""

    shape: TransformerShape
    batch: int
    device: str
    low: bool = False
    checkpointing: bool = False


def cases(quick: bool) -> dict[str, Case]:
    """By name."""
    found = {"cpu, small": Case(SHALLOW if quick else SHAPES["small"], 2, "cpu")}
    if torch.cuda.is_available():
        found["cuda, small"] = Case(SHAPES["small"], 64, "cuda", low=True)
        found["cuda, xl-256"] = Case(SHAPES["xl-256"], 32, "cuda", low=True, checkpointing=True)
    return found


class Batch(NamedTuple):
    """Latents, features of captions and the tokens that are there."""

    latents: Tensor
    text: Tensor
    mask: Tensor


def made_up(case: Case) -> Batch:
    """Speed does not depend on what they are."""
    shape, generator = case.shape, torch.Generator().manual_seed(0)
    size = (case.batch, shape.channels, shape.side, shape.side)
    text = torch.randn(case.batch, shape.tokens, shape.text_width, generator=generator)
    mask = torch.arange(shape.tokens).expand(case.batch, -1) < shape.tokens // 2
    latents = torch.randn(size, generator=generator)
    return Batch(*(value.to(case.device) for value in (latents, text, mask)))


def by_leaven(case: Case) -> Callable[[], int]:
    """The step of leaven."""
    model = _network(case)
    batch, draws = made_up(case), Draws(0, case.device)
    schedule = NoiseSchedule().to(case.device)
    optimizer, average = _optimizer(model), EMA(model, 0.9999)

    def step() -> int:
        clean, text, mask = batch
        steps = draw_steps(draws, len(clean), schedule)
        noise = draws.normal(*clean.shape)
        noisy = schedule.add_noise(clean, noise, steps)
        given = drop_captions(text, model.null, 0.1, draws)
        with torch.autocast(case.device, torch.bfloat16, enabled=case.low):
            output = model(noisy, steps, given, mask)
        loss = ddpm_loss(output, clean, noisy, noise, steps, schedule).total
        _update(loss, model, optimizer)
        average.update(model)
        return _done(case)

    return step


def by_diffusers(case: Case) -> Callable[[], int]:
    """The step of diffusers' example."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    model = _network(case).net
    batch, generator = made_up(case), torch.Generator(case.device).manual_seed(0)
    scheduler = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    optimizer, average = _optimizer(model), EMAModel(model.parameters(), decay=0.9999)
    conditions = {"resolution": None, "aspect_ratio": None}

    def step() -> int:
        clean, text, mask = batch
        noise = torch.randn(clean.shape, generator=generator, device=case.device)
        steps = torch.randint(1000, (len(clean),), generator=generator, device=case.device)
        noisy = scheduler.add_noise(clean, noise, steps)
        with torch.autocast(case.device, torch.bfloat16, enabled=case.low):
            output = model(
                noisy,
                encoder_hidden_states=text,
                encoder_attention_mask=mask,
                timestep=steps,
                added_cond_kwargs=conditions,
            ).sample
        loss = mse_loss(output.chunk(2, 1)[0].float(), noise)
        _update(loss, model, optimizer)
        average.step(model.parameters())
        return _done(case)

    return step


def _network(case: Case) -> TextTransformer:
    torch.manual_seed(0)
    model = TextTransformer(case.shape, checkpointing=case.checkpointing)
    return model.to(case.device).train()


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), 2e-5, weight_decay=0.03, eps=1e-10, fused=True)


def _update(loss: Tensor, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()


def _done(case: Case) -> int:
    if case.device == "cuda":
        torch.cuda.synchronize()
    return case.batch


STEPS = {"leaven": by_leaven, "diffusers": by_diffusers}


def memory(name: str, side: str, quick: bool) -> float:
    """MiB at the highest, of a few steps of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.diffusion_training", "--memory", name, side]
    done = subprocess.run(
        [*command, *(["--quick"] if quick else [])], check=True, capture_output=True, text=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def _own_memory(case: Case, side: str) -> float:
    step = STEPS[side](case)
    for _ in range(_STEPS_OF_MEMORY):
        step()
    if case.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(quick: bool = False) -> dict[str, Any]:
    """Measures, prints and keeps pictures per second, their ratio, and memory."""
    rows: dict[str, Any] = {}
    for name, case in cases(quick).items():
        peaks = {side: memory(name, side, quick) for side in SIDES}
        steps = {side: STEPS[side](case) for side in SIDES}
        rates = compare(steps, seconds=4 if quick else 20, rounds=3 if quick else 5)
        del steps
        side = case.shape.side
        flops = forward_flops(case.shape, side, side) * (4 if case.checkpointing else 3)
        rows[name] = {
            "images_per_second": {side: rate.as_dict() for side, rate in rates.items()},
            "ratio": rates["leaven"].times(rates["diffusers"]),
            "memory_mib": peaks,
            "batch": case.batch,
            "blocks": case.shape.blocks,
            "teraflops": rates["leaven"].median * flops / 1e12,
        }
        print(
            f"{name}: {rates['leaven'].median:.2f} pictures/s, {rows[name]['ratio']:.2f} of "
            f"diffusers; {peaks['leaven']:.0f} MiB, diffusers {peaks['diffusers']:.0f} MiB"
        )
    save("diffusion_training", {"cases": rows, "quick": quick})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        wanted, of = arguments.memory
        print(json.dumps(_own_memory(cases(arguments.quick)[wanted], of)))
    else:
        main(arguments.quick)
