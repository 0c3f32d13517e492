"""A run that stands before its first step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.methods.loop import Run
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun
from leaven.train.batch import Batch
from leaven.train.pixel_trainer import PixelTrainer


@pytest.fixture
def started(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> Callable[..., PixelRun]:
    """``started(method, progress=0.0, step=0)``: what the loop of ``method`` makes before that step,
    and its batch, on ``maps_data``."""

    def start(method: FewMaps, progress: float = 0.0, step: int = 0) -> PixelRun:
        trainer = pixel_trainer_for(maps_data, 4)
        student = method.student(trainer)
        average = method.average(student)
        parts = nn.ModuleDict(method.parts(trainer, student))
        optimizer = method.optimizer(trainer, nn.ModuleList([student, *parts.values()]))
        streams = method.streams(trainer.data)
        for number, stream in enumerate(streams.values()):
            stream.start(number, trainer.device)
        trainer._truths = {name: stream.truth for name, stream in streams.items()}
        batch = Batch(step, progress, {name: stream.next() for name, stream in streams.items()})
        return Run(trainer, student, average, parts, optimizer, batch)

    return start
