"""How to compute: device, precision, threads, budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import PartialState

from leaven.errors import ConfigError
from leaven.train.budget import Budget


@dataclass(frozen=True)
class Settings:
    """How to compute; what to learn is the method's.

    Attributes:
        budget: of the whole run.
        seed: of everything random.
        model: a name for ``build_model``, or ``"auto"`` for one that fits the pictures.
        weights: where the model's first weights come from; None is random.
        options: further arguments of the model's builder.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        precision: ``"fp32"``, ``"bf16"``, or ``"auto"`` (bf16 on a GPU that has it, else fp32).
        compile: compile the networks (``torch.compile``): slower to start, faster steps.
        threads: number of CPU threads; 0 finds the fastest by a short timing.
        checkpoint_seconds: time between checkpoints.
        checkpoint_steps: steps between checkpoints; in place of the time when set.
        evaluations: how often a run is measured on held-out items on its way, about.
        show: draw a progress bar.
    """

    budget: Budget = field(default_factory=lambda: Budget(steps=1000))
    seed: int = 0
    model: str = "auto"
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    threads: int = 0
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    evaluations: int = 20
    show: bool = False


def find_processes(device: str) -> tuple[PartialState, torch.device]:
    """This process's place among the others, and the device it computes on.

    Raises:
        ConfigError: the device is not there.
    """
    state = PartialState(cpu=device == "cpu")
    if device == "auto":
        return state, state.device
    try:
        wanted = torch.device(device)
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"The device {device!r} cannot be used: {str(error).splitlines()[0]}",
            "auto, cpu, or an accelerator that torch sees here",
            "run `leaven doctor` to see the devices",
        ) from error
    return state, state.device if wanted.index is None and wanted.type != "cpu" else wanted


def find_precision(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype that models compute in under autocast; None is float32 throughout.

    Raises:
        ConfigError: another name than auto, fp32, bf16.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ConfigError(
            f"The precision is {precision!r}.", "auto, fp32 or bf16", "choose one of these"
        )
    on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and on_gpu) else None
