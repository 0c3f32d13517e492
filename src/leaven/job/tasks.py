"""What a run does differently for each task: how data are opened, and how results are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leaven.data import Data, open_data
from leaven.data.annotated_listing import TASKS
from leaven.data.loading import Manner
from leaven.data.open_annotated import open_annotated
from leaven.data.open_captioned import open_captioned
from leaven.data.open_pairs import open_pairs
from leaven.errors import ConfigError
from leaven.job.box_stage import BoxStage, MaskStage
from leaven.job.class_stage import ClassStage
from leaven.job.config import RunConfig
from leaven.job.pixel_stage import PixelStage
from leaven.job.promises import calibration_of, check_promise
from leaven.job.stage import Stage
from leaven.job.text_stage import TextStage
from leaven.job.translation_stage import TranslationStage
from leaven.methods import Method
from leaven.models import trained_classes

Progress = Callable[[int, int], None]

STAGES: dict[str, type[Stage[Any]]] = {
    "classification": ClassStage,
    "segmentation": PixelStage,
    "detection": BoxStage,
    "instance": MaskStage,
    "translation": TranslationStage,
    "text-to-image": TextStage,
}

_CLASSES_ALONE = (
    "labels", "label_column", "truth_column", "labels_per_class", "features", "estimate_by",
)  # fmt: skip
_PLACES_ALONE = ("labelled", "annotations", "tags")
_PAIRS_ALONE = ("pairs", "swap")
_PICTURES_ALONE = ("extractor",)
_OBJECTS = (*_CLASSES_ALONE, *_PAIRS_ALONE, *_PICTURES_ALONE, "tags")
_MODELS = ("model", "weights", "options")
_FOREIGN: dict[str, tuple[str, ...]] = {
    "classification": (*_PLACES_ALONE, *_PAIRS_ALONE, *_PICTURES_ALONE),
    "detection": _OBJECTS,
    "instance": _OBJECTS,
    "translation": (*_CLASSES_ALONE, *_MODELS, "tags", "labelled", "promise", "compare"),
    "text-to-image": (
        "truth_column",
        "labels_per_class",
        "features",
        "estimate_by",
        "weights",
        "flip",
        *_PLACES_ALONE,
        *_PAIRS_ALONE,
        "promise",
        "compare",
    ),
}
"""By task the options that mean nothing for it; of the others see ``check_task``."""
_INSTEAD = {
    "labels": "--annotations, or masks beside the pictures",
    "labels_per_class": "--labelled, the number of pictures that keep their labels",
    "labelled": "--labels-per-class, the number of labels that each class keeps",
    "annotations": "--labels",
}
_NETWORKS = dict.fromkeys(_MODELS, "--set width=N, depth=N and the like; see `leaven methods`")


def check_task(config: RunConfig) -> None:
    """Refuses options that mean nothing for the task, or without another one.

    Raises:
        ConfigError: one of them is set.
    """
    check_promise(config)
    fields = RunConfig.model_fields
    instead = _NETWORKS if config.task == "translation" else _INSTEAD
    for name in _FOREIGN.get(config.task, (*_CLASSES_ALONE, *_PAIRS_ALONE, *_PICTURES_ALONE)):
        if getattr(config, name) != fields[name].get_default(call_default_factory=True):
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{option} is given for {config.task}.",
                "options that mean something for it; see `leaven run --help`",
                f"use {instead[name]}" if name in instead else f"leave {option} out",
            )


def opened(config: RunConfig, method: Method, progress: Progress | None) -> Data[Any]:
    """The data of a run.

    Raises:
        DataError: they cannot be used; says what to do.
    """
    if config.tags is not None and not method.needs_tags:
        raise ConfigError(
            f"--tags is given, and {method.card.name} does not learn from tags.",
            "a method that does",
            "use --method u2pl-plus --set evidence=tags, or leave --tags out",
        )
    if config.task in TASKS:
        return open_annotated(
            config.data,
            config.task,
            annotations=config.annotations,
            tags=config.tags,
            labelled=config.labelled,
            image_size=config.shape,
            seed=config.seed,
            test_share=config.test_share,
            val_share=config.val_share,
            calibration=calibration_of(config),
            flip=config.flip,
            manner=Manner(config.max_unreadable, progress=progress),
        )
    if config.task == "text-to-image":
        return open_captioned(
            config.data,
            captions=config.labels,
            column=config.label_column,
            image_size=config.shape,
            seed=config.seed,
            test_share=config.test_share,
            val_share=config.val_share,
            manner=Manner(config.max_unreadable, progress=progress),
        )
    if config.task == "translation":
        return open_pairs(
            config.data,
            pairs=config.pairs,
            swap=config.swap,
            other=config.annotations,
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
        calibration=calibration_of(config),
        flip=config.flip,
        max_unreadable=config.max_unreadable,
        progress=progress,
    )
