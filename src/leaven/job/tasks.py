"""What a run does differently for each task: how data are opened, and how results are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leaven.data import Data, open_data
from leaven.data.annotated_listing import TASKS
from leaven.data.loading import Manner
from leaven.data.open_annotated import open_annotated
from leaven.errors import ConfigError
from leaven.job.box_stage import BoxStage, MaskStage
from leaven.job.class_stage import ClassStage
from leaven.job.config import RunConfig
from leaven.job.pixel_stage import PixelStage
from leaven.job.stage import Stage
from leaven.methods import Method
from leaven.models import trained_classes

Progress = Callable[[int, int], None]

STAGES: dict[str, type[Stage[Any]]] = {
    "classification": ClassStage,
    "segmentation": PixelStage,
    "detection": BoxStage,
    "instance": MaskStage,
}

_CLASSES_ALONE = ("labels", "label_column", "truth_column", "labels_per_class", "features")
_PLACES_ALONE = ("labelled", "annotations")
_INSTEAD = {
    "labels": "--annotations, or masks beside the pictures",
    "labels_per_class": "--labelled, the number of pictures that keep their labels",
    "labelled": "--labels-per-class",
    "annotations": "--labels",
}


def check_task(config: RunConfig) -> None:
    """Refuses options that mean nothing for the task.

    Raises:
        ConfigError: one of them is set.
    """
    foreign = _PLACES_ALONE if config.task == "classification" else _CLASSES_ALONE
    for name in foreign:
        if getattr(config, name) is not None:
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{option} is given for {config.task}.",
                f"options for {config.task}",
                f"use {_INSTEAD[name]}" if name in _INSTEAD else f"leave {option} out",
            )


def opened(config: RunConfig, method: Method, progress: Progress | None) -> Data[Any]:
    """The data of a run.

    Raises:
        DataError: they cannot be used; says what to do.
    """
    if config.task in TASKS:
        return open_annotated(
            config.data,
            config.task,
            annotations=config.annotations,
            labelled=config.labelled,
            image_size=config.shape,
            seed=config.seed,
            test_share=config.test_share,
            val_share=config.val_share,
            flip=config.flip,
            manner=Manner(config.max_unreadable, progress=progress),
        )
    return open_data(
        config.data,
        labels=config.labels,
        label_column=config.label_column,
        truth_column=config.truth_column,
        labels_per_class=config.labels_per_class,
        classes=None if method.needs_labels else trained_classes(config.model, config.weights),
        image_size=config.shape,
        seed=config.seed,
        test_share=config.test_share,
        val_share=config.val_share,
        flip=config.flip,
        max_unreadable=config.max_unreadable,
        progress=progress,
    )
