"""The trainer of each task."""

from __future__ import annotations

from typing import Any

from leaven.errors import ConfigError, nearest
from leaven.train.box_trainer import BoxTrainer
from leaven.train.engine import Engine
from leaven.train.picture_trainer import PictureTrainer
from leaven.train.pixel_trainer import PixelTrainer
from leaven.train.trainer import Trainer

_TRAINERS: dict[str, type[Engine[Any]]] = {
    "classification": Trainer,
    "segmentation": PixelTrainer,
    "detection": BoxTrainer,
    "instance": BoxTrainer,
    "text-to-image": PictureTrainer,
    "translation": PictureTrainer,
}


def trainer_of(task: str) -> type[Engine[Any]]:
    """The kind of trainer for a task, by its name.

    Raises:
        ConfigError: there is no such task.
    """
    if task not in _TRAINERS:
        raise ConfigError(
            f"There is no task {task!r}.", nearest(task, _TRAINERS), "choose one of these"
        )
    return _TRAINERS[task]
