"""What tests of methods for masks share: narrow networks, and steps of a made-up teacher."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from leaven.methods.detection.teacher import PseudoBoxes, Step

NARROW: dict[str, Any] = {"widths": (8, 8, 16, 16), "channels": 16}
SMALL: dict[str, Any] = {"batch": 2, "ema": 0.9, "burn_in": 0.0}


def taught_truth(step: Step, quality: float = 0.8, score: float = 0.9) -> Step:
    """The step with the truth of the strong views in place of what the teacher said."""
    run = step.run
    truth = run.trainer.truth(run.batch.unlabelled.items)
    labels = step.strong.geometry.labels(truth)
    count = len(labels.boxes)
    labels = replace(labels, confidence=torch.full((count,), score))
    quality_of = torch.full((count,), quality) - 0.1 * torch.arange(count) / count
    step.aim = PseudoBoxes(labels, {"rows": torch.arange(count), "quality": quality_of})
    return step


def nothing(step: Step) -> Step:
    """The step of a teacher that has seen nothing."""
    step.aim = taught_truth(step).aim.keep(torch.zeros(len(step.aim), dtype=torch.bool))
    return step


def gradients(loss: Tensor, model: torch.nn.Module) -> dict[str, Tensor | None]:
    model.zero_grad()
    loss.backward()
    return {name: value.grad for name, value in model.named_parameters()}
