"""Detectors by name."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from leaven.errors import ModelError, nearest
from leaven.models.build import checked_shape, per_channel
from leaven.models.classifier import ModelSpec
from leaven.models.detection.conv_instance import ConvInstance
from leaven.models.detection.detector import Detector
from leaven.models.detection.of_torchvision import (
    BUILDERS,
    IMAGENET,
    is_torchvision,
    published,
    translated,
)
from leaven.models.detection.of_transformers import rt_detr
from leaven.models.detection.small import fcos_small, maskrcnn_small, rcnn_small, retina_small
from leaven.models.weights import is_file_name, load_into, read_weights

log = logging.getLogger(__name__)

_SMALL: dict[str, Callable[..., Detector]] = {
    "conv-instance-small": ConvInstance,
    "fcos-small": fcos_small,
    "maskrcnn-small": maskrcnn_small,
    "rcnn-small": rcnn_small,
    "retina-small": retina_small,
}
_TORCHVISION: dict[str, Callable[..., Detector]] = {
    f"torchvision:{name}": build for name, build in BUILDERS.items()
}
_RT_DETR = "transformers:rt-detr"
_INSTANCE = ("conv-instance-small", "maskrcnn-small", "torchvision:maskrcnn_resnet50_fpn")

HEADS = (
    "alignment.", "box.class_logits.", "box.deltas.", "box.quality.", "box.sides.", "class_logits.",
    "head.centreness.", "head.class_logits.", "mask.masks.mask_fcn_logits.", "mask.quality.",
)  # fmt: skip
"""Where the weights lie that depend on the classes, or that not every detector of a name has."""


def detector_names(task: str = "detection") -> list[str]:
    """The names for ``build_detector``, sorted; of ``"instance"`` those that give masks."""
    names = [*_SMALL, *_TORCHVISION, _RT_DETR]
    return sorted(_INSTANCE if task == "instance" else names)


def build_detector(
    name: str,
    classes: Sequence[str],
    shape: tuple[int, ...],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    weights: str | Path | None = None,
    options: dict[str, Any] | None = None,
) -> Detector:
    """Build the detector ``name`` for things of ``classes``.

    Start values come from torch's global generator (``torch.manual_seed``). Pictures are not
    resized: give those of torchvision's weights at the size they were trained for (a shorter side
    of 800 pixels), normalised by ``adapters.IMAGENET``.

    Args:
        name: one of ``detector_names()``.
        classes: the names of the K >= 1 classes of things.
        shape: (C, H, W) of the pictures.
        mean, std: per channel, of pictures in [0, 1]; one value stands for all channels.
        weights: a ``.safetensors`` or torch file of leaven or torchvision; for torchvision also
            ``"default"``, a tag of published weights, or ``"imagenet"`` for the backbone alone; for
            RT-DETR a local folder. Heads for other classes than these start anew.
        options: keyword arguments of the builder.

    Raises:
        ModelError: for unknown names, options, shapes, or weights that do not fit.
        MissingExtraError: for ``transformers:`` names without transformers.
    """
    spec = ModelSpec(
        name,
        tuple(str(c) for c in classes),
        checked_shape(shape),
        per_channel("mean", mean, shape[0]),
        per_channel("std", std, shape[0]),
        options=dict(options or {}),
        task="instance" if name in _INSTANCE else "detection",
    )
    _check(spec)
    local = weights if weights is not None and is_file_name(weights) else None
    if name == _RT_DETR:
        return _rt_detr(spec, weights)
    tag = str(weights) if weights is not None and local is None else None
    if name in _TORCHVISION:
        # Trained weights are used with frozen batch norm, random ones with one that learns.
        frozen = weights is not None
        spec = replace(spec, options={"frozen": frozen, **spec.options})
        model = _called(_TORCHVISION[name], spec, *([True] if tag == IMAGENET else []))
        if tag is not None and tag != IMAGENET:
            _take(model, published(name.partition(":")[2], tag), tag)
    else:
        model = _called(_SMALL[name], spec)
        if tag is not None:
            raise ModelError(
                f"There are no published weights {tag!r} for the model {name!r}.",
                "the path of a .safetensors or torch file",
                "Give a path, or no weights.",
            )
    if local is not None:
        _take(model, _read(local, name), local)
    return model


def detector_of(spec: ModelSpec) -> Detector:
    """The detector that a spec describes, with random start values."""
    return build_detector(
        spec.name, spec.classes, spec.shape, mean=spec.mean, std=spec.std, options=spec.options
    )


def _rt_detr(spec: ModelSpec, weights: str | Path | None) -> Detector:
    unknown = sorted(set(spec.options) - {"config"})
    if unknown:
        raise _no_option(spec.name, unknown[0], {"config"})
    folder = None if weights is None else Path(weights)
    if folder is not None and not folder.is_dir():
        raise ModelError(
            f"There is no folder {folder}.",
            "a local folder with config.json and model.safetensors",
            "Check the path.",
        )
    model = rt_detr(spec, folder, config=spec.options.get("config"))
    settings = model.network.config.to_diff_dict()  # type: ignore[union-attr, operator]
    model.spec = replace(spec, options={"config": settings})
    return model


def _called(build: Callable[..., Detector], spec: ModelSpec, *further: Any) -> Detector:
    parameters = inspect.signature(build).parameters.items()
    known = {name for name, value in parameters if value.kind is value.KEYWORD_ONLY}
    unknown = sorted(set(spec.options) - known)
    if unknown:
        raise _no_option(spec.name, unknown[0], known)
    try:
        return build(spec, *further, **spec.options)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError, IndexError) as error:
        raise ModelError(
            f"The model {spec.name!r} cannot be built with the options {spec.options}: {error}.",
            "values of the type and range that the model takes",
            "Change the options of the model.",
        ) from error


def _no_option(name: str, option: str, known: set[str]) -> ModelError:
    return ModelError(
        f"The model {name!r} has no option {option!r}.",
        f"options among {', '.join(sorted(known))}",
        nearest(option, known),
    )


def _read(path: str | Path, name: str) -> dict[str, Tensor]:
    state = read_weights(path)
    if is_torchvision(state) and name in _TORCHVISION:
        return translated(name.partition(":")[2], state, str(path))
    return state


def _take(model: Detector, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy ``state``; heads that it lacks, or has for other classes, stay as they are.

    The statistics of the pictures stay too, and what batch norm counts, where it is frozen.
    """
    own = model.state_dict()
    given = {name: value for name, value in state.items() if _counted(name, own)}
    for name, value in own.items():
        fits = name in given and given[name].shape == value.shape
        if name in ("mean", "std") or (name.startswith(HEADS) and not fits):
            given[name] = value
            log.info("%s has no %s of the shape %s: it starts anew.", source, name, value.shape)
    load_into(model, given, source)


def _counted(name: str, own: Mapping[str, Tensor]) -> bool:
    if name in own:
        return True
    return not (name.startswith(HEADS) or name.endswith("num_batches_tracked"))


def _check(spec: ModelSpec) -> None:
    if spec.name not in (names := detector_names()):
        raise ModelError(
            f"There is no detector named {spec.name!r}.",
            "one of: " + ", ".join(names),
            nearest(spec.name, names),
        )
    if not spec.classes:
        raise ModelError("No class.", "one class or more", "Give the names of all classes.")
    if len(spec.shape) != 3:
        raise ModelError(
            f"The shape {spec.shape} for the detector {spec.name!r}.",
            "(channels, height, width) of pictures",
            "Give pictures, not feature rows.",
        )
    if ":" in spec.name and spec.shape[0] not in (1, 3):
        raise ModelError(
            f"Pictures of {spec.shape[0]} channels for the model {spec.name!r}.",
            "1 or 3 channels",
            "Use a small net.",
        )
    if min(spec.std) <= 0:
        raise ModelError(f"std={spec.std}.", "a spread above 0 per channel", "Change std.")
