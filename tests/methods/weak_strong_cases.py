"""What tests of methods of the FixMatch family share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from leaven.data import Data
from leaven.methods import Fitted
from leaven.methods.classification.weak_strong import Step, WeakStrong
from leaven.train import Trainer

M = TypeVar("M", bound=WeakStrong)
MakeTrainer = Callable[..., Trainer]


def watched(method: M, look: Callable[[Step, dict[str, Tensor]], None]) -> M:
    """The method with ``look`` called on every step and its losses, before the update."""

    class Watched(type(method)):  # type: ignore[misc]
        def learn(self, step: Step) -> dict[str, Tensor]:
            losses = super().learn(step)
            look(step, losses)
            return losses

    made: M = Watched(**{name: getattr(method, name) for name in method.model_fields_set})
    return made


def run(method: WeakStrong, data: Data, trainer_for: MakeTrainer, steps: int = 8) -> Fitted:
    """The method after a few steps."""
    trainer = trainer_for(data, steps)
    return method.fit(trainer.data, trainer)


def same(first: Fitted, second: Fitted, under: str = "") -> bool:
    """Whether two networks have the same numbers in all that begins with ``under``."""
    left, right = first.model.state_dict(), second.model.state_dict()
    return all(torch.equal(left[k], right[k]) for k in left if k.startswith(under))
