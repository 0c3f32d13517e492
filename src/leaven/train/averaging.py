"""Copies of weights: exponential (EMA) and equal (SWA) averages, and the best so far."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def _frozen_copy(model: M) -> M:
    twin = copy.deepcopy(model)
    twin.requires_grad_(False)
    return twin.eval()


def _weights(model: nn.Module) -> list[Tensor]:
    return list(model.parameters())


def _floats(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def from_student(update: int) -> float:
    """``1 - 1 / t``: the first update copies the student, and until the decay is reached the
    teacher is the plain mean of all students. Used by: 054, 093, 097, 117."""
    return 1 - 1 / update


def _of_short_runs(update: int) -> float:
    return (1 + update) / (10 + update)


class EMA(Generic[M]):
    """A teacher whose weights are the exponential moving average of a student's.

    ``teacher <- decay * teacher + (1 - decay) * student`` after every step. In the first steps the
    decay is ``min(decay, (1 + t) / (10 + t))``, so that short runs are not ruled by the random
    start. Batch statistics are copied from the student, averaged like the weights, or left alone.

    Args:
        model: the student.
        decay: in [0, 1).
        average_buffers: average floating-point buffers too (EMAN, Cai et al. 2021).
        warm_up: use the smaller decay of the first steps; or what it is, of the number of this
            update, which counts from 1: see ``from_student``.
        own_buffers: the teacher keeps the buffers of its own forward passes.

    Source: Tarvainen and Valpola, Mean teachers, 2017.
    """

    def __init__(
        self,
        model: M,
        decay: float,
        *,
        average_buffers: bool = False,
        warm_up: bool | Callable[[int], float] = True,
        own_buffers: bool = False,
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is in [0, 1), not {decay}")
        self.decay, self.average_buffers, self.own_buffers = decay, average_buffers, own_buffers
        self.warm_up: Callable[[int], float] | None = None
        if warm_up is not False:
            self.warm_up = _of_short_runs if warm_up is True else warm_up
        self.module = _frozen_copy(model)
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the teacher towards ``model``."""
        self.updates += 1
        decay = self.decay_of(self.updates)
        torch._foreach_lerp_(_weights(self.module), _weights(model), 1 - decay)
        if self.own_buffers:
            return
        if self.average_buffers:
            averaged = _floats(self.module.buffers())
            torch._foreach_lerp_(averaged, _floats(model.buffers()), 1 - decay)
        else:
            for own, other in zip(self.module.buffers(), model.buffers(), strict=True):
                own.copy_(other)

    def decay_of(self, update: int) -> float:
        """The decay of the update of that number, which counts from 1."""
        return self.decay if self.warm_up is None else min(self.decay, self.warm_up(update))

    def restart(self, model: nn.Module) -> None:
        """The teacher becomes ``model``; the warm-up begins anew."""
        self.module.load_state_dict(model.state_dict())
        self.updates = 0

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.updates = int(state["updates"])


class WeightAverage(Generic[M]):
    """The plain mean of the weights at several moments of a run (SWA).

    ``mean_n = mean_(n-1) + (weights - mean_(n-1)) / n``. Batch statistics do not belong to averaged
    weights: run ``refresh_batch_norm`` before the average is used.

    Source: Izmailov et al., Averaging weights leads to wider optima, 2018. Used by: 002, 007.
    """

    def __init__(self, model: M) -> None:
        self.module = _frozen_copy(model)
        self.count = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the weights of ``model`` into the mean."""
        self.count += 1
        torch._foreach_lerp_(_weights(self.module), _weights(model), 1 / self.count)
        for own, other in zip(self.module.buffers(), model.buffers(), strict=True):
            own.copy_(other)

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.count = int(state["count"])


class BestWeights(Generic[M]):
    """A copy of the weights with the highest score so far; the later ones win a tie.

    On few validation items ties are frequent, and later weights saw a lower learning rate.

    Used by: 002, 050.
    """

    def __init__(self, model: M) -> None:
        self.module = _frozen_copy(model)
        self.score, self.offers = -math.inf, 0

    def offer(self, model: nn.Module, score: float) -> None:
        """Takes the weights of ``model`` unless the ones before scored higher."""
        self.offers += 1
        if score >= self.score:
            self.score = score
            self.module.load_state_dict(model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        module = self.module.state_dict()
        return {"module": module, "score": self.score, "offers": self.offers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.score, self.offers = float(state["score"]), int(state["offers"])


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Computes the running statistics of every batch norm anew as the mean over ``batches``.

    A model without batch norm is left as it is, and the batches are not read.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
        norm.train()
    try:
        for images in batches:
            model(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
