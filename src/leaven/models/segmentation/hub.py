"""Segmentation networks of transformers by configuration, local folder or name on the hub."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from leaven.errors import MissingExtraError, ModelError, nearest
from leaven.models.adapters import build_other, no_weights
from leaven.models.classifier import ModelSpec
from leaven.models.segmentation.of_transformers import Mask2FormerNet, SegformerNet
from leaven.models.segmentation.segmenter import SegmentationNet

log = logging.getLogger(__name__)

CONFIG = "config"
"""The option with the whole configuration, so that a saved model needs no other file."""
_KINDS = ("mask2former", "segformer")


def transformers_net(
    spec: ModelSpec, published: str | None
) -> tuple[SegmentationNet, list[Tensor], ModelSpec]:
    """The network ``transformers:<name>``, the head of its weights or [], and the spec with the
    whole configuration among its options.

    Args:
        spec: named ``transformers:segformer`` or ``transformers:mask2former`` with the keyword
            arguments of their configurations as options, or ``transformers:`` with a local folder
            or a name on the hub, where options change the configuration that is found there.
        published: ``"default"`` for the weights in the folder or on the hub; None for random ones.

    Raises:
        ModelError: for unknown names and options, pictures that have not 1 or 3 channels, models of
            another kind, and what cannot be downloaded.
        MissingExtraError: without transformers.
    """
    try:
        import transformers
    except ImportError as error:
        purpose = f"the model {spec.name!r}"
        raise MissingExtraError("transformers", "transformers", purpose) from error
    name = spec.name.partition(":")[2]
    if spec.shape[0] not in (1, 3):
        raise ModelError(
            f"Pictures of {spec.shape[0]} channels for the model {spec.name!r}.",
            "1 or 3 channels",
            "Use a small net or a timm model.",
        )
    if published is not None and (published != "default" or name in _KINDS):
        raise no_weights(spec.name, published, [] if name in _KINDS else ["default"])
    config = _configuration(spec, name)
    config.num_labels = len(spec.classes)
    kind: Any = transformers.SegformerForSemanticSegmentation
    if config.model_type == "mask2former":
        kind = transformers.Mask2FormerForUniversalSegmentation
    if published is None:
        model = build_other(spec.name, lambda: kind(config), None)
        missing: set[str] = set()
    else:
        model, missing = _published(spec.name, kind, name, config)
    options = {CONFIG: json.loads(json.dumps(config.to_dict()))}
    grey = spec.shape[0] == 1
    if config.model_type == "mask2former":
        return Mask2FormerNet(model, grey), [], replace(spec, options=options)
    classifier: Any = model.decode_head.classifier  # type: ignore[union-attr]
    known = published is not None and not any("decode_head.classifier" in n for n in missing)
    head = [classifier.weight.detach(), classifier.bias.detach()] if known else []
    return SegformerNet(model, grey), head, replace(spec, options=options)


def _published(name: str, kind: Any, source: str, config: Any) -> tuple[Any, set[str]]:
    """The model with the weights at ``source``, and the names of those that start anew."""
    found: dict[str, Any] = {}

    def build() -> Any:
        with _quiet():
            model, info = kind.from_pretrained(
                source, config=config, ignore_mismatched_sizes=True, output_loading_info=True
            )
        found.update(info)
        return model.float()

    model = build_other(name, build, "default")
    mismatched = {
        entry if isinstance(entry, str) else entry[0] for entry in found["mismatched_keys"]
    }
    missing = mismatched | set(found["missing_keys"])
    if missing:
        log.info(
            "%s has no fitting weights for %s: they start anew.", name, ", ".join(sorted(missing))
        )
    return model, missing


def _configuration(spec: ModelSpec, name: str) -> Any:
    import transformers

    kinds = {
        "mask2former": transformers.Mask2FormerConfig,
        "segformer": transformers.SegformerConfig,
    }
    options = dict(spec.options)
    saved = options.pop(CONFIG, None)
    if saved is not None:
        config = kinds[saved["model_type"]].from_dict(saved)
    elif name in kinds:
        config = _from_options(spec.name, kinds[name], options)
        options = {}
    elif "/" in name or Path(name).exists():
        config = _found(spec.name, name)
    else:
        raise ModelError(
            f"There is no model named {spec.name!r}.",
            "'transformers:segformer', 'transformers:mask2former', a local folder or OWNER/NAME",
            nearest(name, kinds),
        )
    if config.model_type not in kinds:
        raise ModelError(
            f"The model {spec.name!r} is of the kind {config.model_type!r}.",
            "one of: " + ", ".join(kinds),
            "Use another model.",
        )
    _known_options(spec.name, config, options)
    for option, value in options.items():
        setattr(config, option, value)
    # The decoder takes maps; flattened ones only of square pictures.
    config.reshape_last_stage = True
    return config


def _from_options(name: str, kind: Any, options: dict[str, Any]) -> Any:
    import transformers

    _known_options(name, kind(), options)
    backbone = options.get("backbone_config")
    if isinstance(backbone, dict):
        swin = {"out_features": ["stage1", "stage2", "stage3", "stage4"], **backbone}
        swin.pop("model_type", None)
        options = {**options, "backbone_config": transformers.SwinConfig(**swin)}
    try:
        return kind(**options)
    except Exception as error:
        raise ModelError(
            f"The model {name!r} has no configuration {options}: {str(error)[:300]}.",
            "values of the type and range that the model takes",
            "Change the options of the model.",
        ) from error


def _known_options(name: str, config: Any, options: dict[str, Any]) -> None:
    known = config.to_dict().keys()
    unknown = sorted(set(options) - known)
    if unknown:
        raise ModelError(
            f"The model {name!r} has no option {unknown[0]!r}.",
            "an argument of its configuration in transformers",
            nearest(unknown[0], known),
        )


def _found(name: str, source: str) -> Any:
    """The configuration in the folder, or of the name on the hub, ``source``."""
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"The configuration of {name!r} cannot be had: {reason}.",
            "a folder with config.json, or a connection to the hub",
            "Check the path or the name, or download the model where there is a connection.",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the report of transformers on weights that start anew; leaven says it."""
    from transformers.utils import logging as reports

    level = reports.get_verbosity()
    reports.set_verbosity_error()
    try:
        yield
    finally:
        reports.set_verbosity(level)
