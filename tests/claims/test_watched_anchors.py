"""What the claim of Consistent-Teacher sees at the end of an epoch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from claims.consistent_teacher import Watch
from torch import Tensor, nn

from claims import consistent_teacher
from leaven.methods.detection.consistent_teacher import ConsistentTeacher, mixture_of
from leaven.methods.detection.few_boxes import BoxRun
from leaven.methods.detection.teacher import PseudoBoxes, Step
from leaven.select import MixtureThresholds


class Rising(ConsistentTeacher):
    """Finds nothing, and fills the queue of the second class with what is watched."""

    def find(self, step: Step) -> PseudoBoxes:
        return cast("PseudoBoxes", None)

    def select(self, step: Step, found: PseudoBoxes) -> PseudoBoxes:
        mixture_of(step.run).queue[1] = 0.9
        return found

    def is_burning_in(self, run: BoxRun) -> bool:
        return run.progress < 0.5


def run_at(progress: float) -> BoxRun:
    """At which the threshold of the first class is about the progress, of the second about 0.25."""
    thresholds = MixtureThresholds(3)
    for row, score in enumerate((progress, 0.25)):
        thresholds.queue[row, :8] = torch.cat(
            [torch.full((4,), score), torch.full((4,), score / 2)]
        )
    parts = nn.ModuleDict({"thresholds": thresholds})
    pixels = SimpleNamespace(batch=lambda index: torch.zeros(len(index), 3, 8, 16))
    data = SimpleNamespace(unlabelled=SimpleNamespace(pixels=pixels))
    trainer = SimpleNamespace(data=data)
    run: Any = SimpleNamespace(progress=progress, parts=parts, trainer=trainer)
    return cast("BoxRun", run)


def test_thresholds_are_noted_from_the_first_epoch_and_anchors_after_the_burn_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Tensor] = [torch.tensor([[-1, 0, 1, -1]]), torch.tensor([[-1, 0, -1, -1]])]
    monkeypatch.setattr(consistent_teacher, "anchor_classes", lambda *_: seen.pop(0))
    watch = Watch()
    for progress in (0.0, 0.25, 0.5, 0.75):
        run = run_at(progress)
        before = mixture_of(run).queue.clone()
        watch.look(Rising(), run)
        assert torch.equal(mixture_of(run).queue, before)
    # What is watched is not in them.
    assert [float(noted[1]) for noted in watch.thresholds] == [0.25] * 4
    assert len(watch.thresholds) == 4 and len(watch.labels) == 2
    values = watch.figures(("RBC", "WBC", "Platelets"))
    assert values["threshold_rise"] == pytest.approx(0.75)
    assert values["threshold_spread"] == pytest.approx(0.75)
    assert values["flips"] == pytest.approx(1 / 4)
    assert values["positive_flips"] == pytest.approx(1 / 2)
