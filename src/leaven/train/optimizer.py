"""Optimisers with a schedule that follows the progress of the run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

Schedule = Literal["constant", "cosine", "cosine-7/16", "inverse", "poly", "step"]


class Recipe(BaseModel):
    """How weights are moved. The learning rate at progress p in [0, 1] is ``lr * factor(p)``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="the update rule")
    lr: float = Field(0.03, gt=0, description="the highest learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD, first beta of Adam")
    nesterov: bool = Field(True, description="Nesterov's momentum (SGD)")
    weight_decay: float = Field(5e-4, ge=0, description="on weights; not on norms and biases")
    schedule: Schedule = Field("cosine-7/16", description="shape of the learning rate over the run")
    milestones: tuple[float, ...] = Field(
        (0.625, 0.875), description="progress at which schedule=step divides the rate by 10"
    )
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the run with a rising rate")
    wait: float = Field(0.0, ge=0, lt=1, description="share of the run before it starts, rate 0")
    clip: float | None = Field(None, gt=0, description="largest global norm of the gradient")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")

    def factor(self, progress: float) -> float:
        """The learning rate relative to ``lr`` at ``progress`` in [0, 1].

        cosine: ``(1 + cos(pi p)) / 2``; cosine-7/16 (FixMatch): ``cos(7 pi p / 16)``; inverse
        (DANN): ``(1 + 10 p)^-0.75``; poly: ``(1 - p)^0.9``; step: a tenth after each milestone. After
        ``wait``, during ``warmup`` the factor rises from 0.
        """
        if progress < self.wait:
            return 0.0
        progress = (progress - self.wait) / (1 - self.wait)
        if progress < self.warmup:
            return progress / self.warmup
        progress = (progress - self.warmup) / (1 - self.warmup)
        match self.schedule:
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * progress))
            case "cosine-7/16":
                return math.cos(7 * math.pi * progress / 16)
            case "inverse":
                return float((1 + 10 * progress) ** -0.75)
            case "poly":
                return float((1 - progress) ** 0.9)
            case "step":
                return 0.1 ** sum(progress >= milestone for milestone in self.milestones)
            case _:
                return 1.0


class Optimizer:
    """An optimiser of one or more models and its recipe.

    Weights with fewer than two dimensions (norms, biases) are not decayed.
    """

    def __init__(self, models: Iterable[nn.Module], recipe: Recipe) -> None:
        self.recipe = recipe
        self.models = list(models)
        self.parameters = [p for m in self.models for p in m.parameters() if p.requires_grad]
        decayed = [p for p in self.parameters if p.ndim >= 2]
        plain = [p for p in self.parameters if p.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.torch = _build([group for group in groups if group["params"]], recipe)
        self.pending = 0

    def set_progress(self, progress: float) -> float:
        """Sets the learning rate for ``progress`` in [0, 1] and returns it."""
        rate = self.recipe.lr * self.recipe.factor(progress)
        for group in self.torch.param_groups:
            group["lr"] = rate
        return rate

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.torch.param_groups[0]["lr"])

    def zero_grad(self) -> None:
        self.torch.zero_grad(set_to_none=True)
        self.pending = 0

    def state_dict(self) -> dict[str, Any]:
        gradients = [p.grad for p in self.parameters] if self.pending else []
        return {"torch": self.torch.state_dict(), "pending": self.pending, "gradients": gradients}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.torch.load_state_dict(state["torch"])
        self.pending = int(state["pending"])
        for parameter, gradient in zip(self.parameters, state["gradients"], strict=False):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)


def _build(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))
