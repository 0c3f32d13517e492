"""Classifiers by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from leaven.errors import ModelError, nearest
from leaven.models.adapters import AdaptedEncoder, adapted_encoder
from leaven.models.classifier import Classifier, ModelSpec
from leaven.models.small import CNN13, SmallCNN, SmallResNet, WideResNet
from leaven.models.weights import is_file_name, load_head, load_into, read_weights

_SMALL: dict[str, Callable[..., nn.Module]] = {
    "cnn-13": CNN13,
    "cnn-small": SmallCNN,
    "resnet-small": SmallResNet,
    "wrn-28-2": partial(WideResNet, depth=28, width=2),
}
_WIDE = re.compile(r"wrn-(\d+)-(\d+)")


def build_model(
    name: str,
    classes: Sequence[str],
    shape: tuple[int, int, int],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    dropout: float = 0.0,
    weights: str | Path | None = None,
    options: dict[str, Any] | None = None,
) -> Classifier:
    """Build the classifier ``name`` with a new head for ``classes``.

    Start values come from torch's global generator (``torch.manual_seed``).

    Args:
        name: one of ``model_names()``, any ``wrn-<depth>-<width>``, ``timm:<name>`` or
            ``torchvision:<name>``.
        classes: the K class names in the order of the outputs.
        shape: (C, H, W) of the pictures.
        mean, std: per channel, of pictures in [0, 1]; one value stands for all channels.
        dropout: the rate in front of the head, in [0, 1).
        weights: a ``.safetensors`` or torch file; for timm and torchvision also ``"default"`` or
            the tag of published weights, which are downloaded; None for random start values.
        options: further keyword arguments of the net, such as ``{"norm": "group"}``.

    Raises:
        ModelError: for unknown names, options, shapes, or weights that do not fit.
        MissingExtraError: for ``timm:`` names without timm.
    """
    spec = ModelSpec(
        name,
        tuple(str(c) for c in classes),
        _checked_shape(shape),
        _per_channel("mean", mean, shape[0]),
        _per_channel("std", std, shape[0]),
        float(dropout),
        dict(options or {}),
    )
    _check(spec)
    local = weights if weights is not None and is_file_name(weights) else None
    published = str(weights) if weights is not None and local is None else None
    adapted = ":" in name
    if published is not None and not adapted:
        raise ModelError(
            f"There are no published weights {published!r} for the model {name!r}.",
            "the path of a .safetensors or torch file",
            "Give a path, or no weights.",
        )
    encoder = (
        adapted_encoder(name, spec.shape, published, spec.options) if adapted else _small(spec)
    )
    head = nn.Linear(int(encoder.num_features), len(spec.classes))  # type: ignore[arg-type]
    nn.init.xavier_normal_(head.weight)
    nn.init.zeros_(head.bias)
    model = Classifier(encoder, head, spec)
    if local is not None:
        _load(model, local)
    return model


def model_names() -> list[str]:
    """The names of the small nets, sorted; ``timm:`` and ``torchvision:`` names come on top."""
    return sorted(_SMALL)


def default_model(shape: tuple[int, int, int]) -> str:
    """The small net for pictures of ``shape`` (C, H, W).

    ``cnn-small`` up to 40 pixels. Its three stages see about 30 pixels around each position,
    which is too little of a larger picture; ``resnet-small`` sees more and halves more often, so
    that it is also faster there.
    """
    return "cnn-small" if min(shape[1:]) <= 40 else "resnet-small"


def _small(spec: ModelSpec) -> nn.Module:
    build = _SMALL.get(spec.name)
    wide = _WIDE.fullmatch(spec.name)
    if build is None and wide:
        build = partial(WideResNet, depth=int(wide[1]), width=int(wide[2]))
    if build is None:
        raise ModelError(
            f"There is no model named {spec.name!r}.",
            "a small net, 'timm:<name>' or 'torchvision:<name>'",
            nearest(spec.name, model_names()),
        )
    known = {n for n, p in inspect.signature(build).parameters.items() if p.kind is p.KEYWORD_ONLY}
    if isinstance(build, partial):
        known -= set(build.keywords)
    unknown = sorted(set(spec.options) - known)
    if unknown:
        raise ModelError(
            f"The model {spec.name!r} has no option {unknown[0]!r}.",
            f"options among {', '.join(sorted(known))}",
            nearest(unknown[0], known),
        )
    try:
        return build(spec.shape, **spec.options)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ModelError(
            f"The model {spec.name!r} cannot be built with the options {spec.options}: {error}.",
            "values of the type and range that the model takes",
            "Change the options of the model.",
        ) from error


def _load(model: Classifier, path: str | Path) -> None:
    """Start from a file of leaven, or of the library the encoder is from."""
    state = read_weights(path)
    own = "encoder."
    if {"mean", "std"} <= state.keys() and any(name.startswith(own) for name in state):
        head = [state[name] for name in ("head.weight", "head.bias") if name in state]
        body = {n.removeprefix(own): value for n, value in state.items() if n.startswith(own)}
        load_into(model.encoder, body, path)
    elif isinstance(model.encoder, AdaptedEncoder):
        body, head = model.encoder.translate(state)
        load_into(model.encoder.model, body, path)
    else:
        raise ModelError(
            f"The weights in {path} are not of the model {model.spec.name!r}: they have "
            f"{', '.join(list(state)[:3]) or 'no tensors'}.",
            "a model.safetensors that leaven has written",
            "Use the model these weights were made with, or other weights.",
        )
    load_head(model.head, head, path)


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape) < 1:
        raise ModelError(
            f"The picture shape {tuple(shape)}.",
            "(channels, height, width), each 1 or more",
            "Give the shape of the pictures.",
        )
    channels, height, width = (int(n) for n in shape)
    return channels, height, width


def _per_channel(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == 1:
        return (float(values[0]),) * channels
    if len(values) != channels:
        raise ModelError(
            f"{name} has {len(values)} values for pictures of {channels} channels.",
            f"1 or {channels} values",
            f"Give one value of {name} per channel.",
        )
    return tuple(float(v) for v in values)


def _check(spec: ModelSpec) -> None:
    if len(spec.classes) < 2:
        raise ModelError(
            f"{len(spec.classes)} class(es): {list(spec.classes)}.",
            "two classes or more",
            "Give the names of all classes.",
        )
    if not 0 <= spec.dropout < 1:
        raise ModelError(f"dropout={spec.dropout}.", "a rate from 0 to under 1", "Change dropout.")
    if min(spec.std) <= 0:
        raise ModelError(f"std={spec.std}.", "a spread above 0 per channel", "Change std.")
