"""Classifiers by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from leaven.errors import ModelError, nearest
from leaven.models.adapters import AdaptedEncoder, adapted_encoder
from leaven.models.cifar_resnets import CifarResNet
from leaven.models.classifier import Classifier, ModelSpec
from leaven.models.ensemble import SEVERAL, SideBySide
from leaven.models.mixture import BESIDE, MeanProbs
from leaven.models.patch_critic import PatchEncoder
from leaven.models.small import CNN13, SmallCNN, SmallResNet, WideResNet
from leaven.models.stacked import Stacked
from leaven.models.structured import StructuredHead
from leaven.models.vectors import Centred, Flat, Perceptron
from leaven.models.weights import is_file_name, load_head, load_into, read_weights

_SMALL: dict[str, Callable[..., nn.Module]] = {
    "cifar-resnet-20": partial(CifarResNet, depth=20),
    "cnn-13": CNN13,
    "cnn-small": SmallCNN,
    "patch-critic": PatchEncoder,
    "resnet-small": SmallResNet,
    "wrn-28-2": partial(WideResNet, depth=28, width=2),
}
_VECTORS: dict[str, Callable[..., nn.Module]] = {
    "centred": Centred,
    "linear": Flat,
    "mlp": Perceptron,
}
PIXELS = "pixels"
"""The backbone that gives the raw pixels."""
STACKED = "+"
"""Between a backbone and what stands on its features: ``timm:resnet18+mlp``."""
Net = TypeVar("Net", bound=nn.Module)
_SEVERAL = re.compile(rf"(\d+){SEVERAL}(.+)")
_WIDE = re.compile(r"wrn-(\d+)-(\d+)")
_CIFAR = re.compile(r"cifar-resnet-(\d+)")


def build_model(
    name: str,
    classes: Sequence[str],
    shape: tuple[int, ...],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    dropout: float = 0.0,
    weights: str | Path | None = None,
    options: dict[str, Any] | None = None,
    head: dict[str, Any] | None = None,
) -> Classifier:
    """Build the classifier ``name`` with a new head for ``classes``.

    Start values come from torch's global generator (``torch.manual_seed``).

    Args:
        name: one of ``model_names()``, any ``wrn-<depth>-<width>`` or
            ``cifar-resnet-<depth>``, ``timm:<name>``, ``torchvision:<name>`` or
            ``openclip:<name>``; or two of them, ``BACKBONE+linear``, ``BACKBONE+mlp`` or
            ``BACKBONE+centred``: the second on the standardised features of the first, which may
            also be ``pixels``. ``2x:NAME`` is two of the same, their features side by side;
            ``A|B`` is the mean of the probabilities of two different ones (options ``{"0": {...},
            "1": {...}}``).
        classes: the K class names in the order of the outputs.
        shape: (C, H, W) of the pictures, or (D,) of feature rows, which linear and mlp take.
        mean, std: per channel, of pictures in [0, 1]; one value stands for all channels. Of
            feature rows, per column.
        dropout: the rate in front of the head, in [0, 1).
        weights: a ``.safetensors`` or torch file; for timm and torchvision also ``"default"`` or
            the tag of published weights, which are downloaded; None for random start values.
        options: further keyword arguments of the net, such as ``{"norm": "group"}``; of two nets
            ``{"backbone": {...}, "head": {...}}``.
        head: keyword arguments of a ``StructuredHead`` in place of a linear one.

    Raises:
        ModelError: for unknown names, options, shapes, or weights that do not fit.
        MissingExtraError: for ``timm:`` names without timm.
    """
    spec = ModelSpec(
        name,
        tuple(str(c) for c in classes),
        checked_shape(shape),
        per_channel("mean", mean, shape[0]),
        per_channel("std", std, shape[0]),
        float(dropout),
        dict(options or {}),
        dict(head or {}),
    )
    check_spec(spec)
    local = weights if weights is not None and is_file_name(weights) else None
    published = str(weights) if weights is not None and local is None else None
    if published is not None and ":" not in name:
        raise ModelError(
            f"There are no published weights {published!r} for the model {name!r}.",
            "the path of a .safetensors or torch file",
            "Give a path, or no weights.",
        )
    encoder = build_encoder(spec, published)
    model = Classifier(encoder, _head(encoder, spec), spec)
    if local is not None:
        head_state, _ = load_encoder(encoder, local, name)
        load_head(model.head, head_state, local)
    return model


def _head(encoder: nn.Module, spec: ModelSpec) -> nn.Module:
    if BESIDE in spec.name:
        assert isinstance(encoder, SideBySide)
        return MeanProbs([_linear(part, spec) for part in encoder.encoders])
    if spec.head:
        return StructuredHead(int(encoder.num_features), **spec.head)  # type: ignore[arg-type]
    return _linear(encoder, spec)


def _linear(encoder: nn.Module, spec: ModelSpec) -> nn.Linear:
    head = nn.Linear(int(encoder.num_features), len(spec.classes))  # type: ignore[arg-type]
    nn.init.xavier_normal_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def build_encoder(spec: ModelSpec, published: str | None = None) -> nn.Module:
    """The encoder of a spec, with ``num_features``; ``published`` as for ``adapted_encoder``."""
    if BESIDE in spec.name:
        names = spec.name.split(BESIDE)
        each = [spec.options.get(str(number), {}) for number in range(len(names))]
        specs = [replace(spec, name=n, options=o) for n, o in zip(names, each, strict=True)]
        return SideBySide([build_encoder(one, published) for one in specs])
    if several := _SEVERAL.fullmatch(spec.name):
        one = replace(spec, name=several[2])
        return SideBySide([build_encoder(one, published) for _ in range(int(several[1]))])
    if STACKED in spec.name:
        return _stacked(spec, published)
    if ":" in spec.name:
        return adapted_encoder(spec.name, spec.shape, published, spec.options)
    return _small(spec)


def model_names() -> list[str]:
    """The names of the small nets, sorted; those of other libraries come on top."""
    return sorted(_SMALL | _VECTORS)


def is_small_net(name: str) -> bool:
    """Whether ``name`` is a net of leaven: one of ``model_names()``, or any ``wrn-<depth>-<width>``
    or ``cifar-resnet-<depth>``."""
    return name in model_names() or any(pattern.fullmatch(name) for pattern in (_WIDE, _CIFAR))


def default_model(shape: tuple[int, ...]) -> str:
    """The small net for pictures of ``shape`` (C, H, W), or for feature rows of ``shape`` (D,).

    ``linear`` for feature rows. ``cnn-small`` up to 40 pixels. Its three stages see about 30 pixels around each position,
    which is too little of a larger picture; ``resnet-small`` sees more and halves more often, so
    that it is also faster there.
    """
    if len(shape) == 1:
        return "linear"
    return "cnn-small" if min(shape[1:]) <= 40 else "resnet-small"


def _small(spec: ModelSpec) -> nn.Module:
    build = (_SMALL | _VECTORS).get(spec.name)
    wide = _WIDE.fullmatch(spec.name)
    if build is None and wide:
        build = partial(WideResNet, depth=int(wide[1]), width=int(wide[2]))
    if build is None and (deep := _CIFAR.fullmatch(spec.name)):
        build = partial(CifarResNet, depth=int(deep[1]))
    if build is None:
        raise ModelError(
            f"There is no model named {spec.name!r}.",
            "a small net, 'timm:<name>', 'torchvision:<name>' or 'openclip:<name>'",
            nearest(spec.name, model_names()),
        )
    if len(spec.shape) == 1 and spec.name not in _VECTORS:
        raise ModelError(
            f"The model {spec.name!r} takes pictures and not feature rows.",
            "one of: " + ", ".join(_VECTORS),
            "Use one of these on features, or leave the features out.",
        )
    return with_options(build, spec)


def with_options(build: Callable[..., Net], spec: ModelSpec) -> Net:
    """``build(shape, **options)``; what does not fit its keyword arguments is told in leaven's way.

    Raises:
        ModelError: for an option that ``build`` does not have, or a value that it does not take.
    """
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


def _stacked(spec: ModelSpec, published: str | None) -> nn.Module:
    """A backbone, and what stands on its features."""
    below, _, above = spec.name.rpartition(STACKED)
    unknown = sorted(set(spec.options) - {"backbone", "head"})
    if unknown:
        raise ModelError(
            f"The model {spec.name!r} has no option {unknown[0]!r}.",
            "options in two groups, 'backbone' and 'head'",
            "Put the option into one of the two groups.",
        )
    options = dict(spec.options.get("backbone", {}))
    if below == PIXELS:
        body: nn.Module = Flat(spec.shape)
    else:
        body = build_encoder(replace(spec, name=below, options=options), published)
    shape = (int(body.num_features),)  # type: ignore[arg-type]
    options = dict(spec.options.get("head", {}))
    return Stacked(body, build_encoder(replace(spec, name=above, shape=shape, options=options)))


def load_encoder(
    encoder: nn.Module, path: str | Path, name: str
) -> tuple[list[Tensor], tuple[tuple[float, ...], tuple[float, ...]] | None]:
    """Start from a file of leaven, or of the library the encoder is from.

    Returns:
        the head in the file, [weight, bias] or nothing, and the mean and spread of pictures where
        the file says them.
    """
    state = read_weights(path)
    own = "encoder."
    if {"mean", "std"} <= state.keys() and any(name.startswith(own) for name in state):
        head = [state[name] for name in ("head.weight", "head.bias") if name in state]
        body = {n.removeprefix(own): value for n, value in state.items() if n.startswith(own)}
        load_into(encoder, body, path)
        return head, tuple(tuple(state[n].flatten().tolist()) for n in ("mean", "std"))  # type: ignore[return-value]
    if isinstance(encoder, AdaptedEncoder):
        body, head = encoder.translate(state)
        load_into(encoder.model, body, path)
        return head, None
    if isinstance(encoder, CifarResNet):
        body, head = encoder.translate(state)
        load_into(encoder, body, path)
        return head, encoder.statistics
    raise ModelError(
        f"The weights in {path} are not of the model {name!r}: they have "
        f"{', '.join(list(state)[:3]) or 'no tensors'}.",
        "a model.safetensors that leaven has written",
        "Use the model these weights were made with, or other weights.",
    )


def checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """(C, H, W) or (D,) as whole numbers, or a ``ModelError``."""
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise ModelError(
            f"The picture shape {tuple(shape)}.",
            "(channels, height, width), each 1 or more, or (width,) of feature rows",
            "Give the shape of the pictures.",
        )
    return tuple(int(n) for n in shape)


def per_channel(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One of ``values`` per channel, or a ``ModelError`` about the argument ``name``."""
    if len(values) == 1:
        return (float(values[0]),) * channels
    if len(values) != channels:
        raise ModelError(
            f"{name} has {len(values)} values for pictures of {channels} channels.",
            f"1 or {channels} values",
            f"Give one value of {name} per channel.",
        )
    return tuple(float(v) for v in values)


def check_spec(spec: ModelSpec) -> None:
    """A ``ModelError`` for one class, an impossible rate of dropout or spread."""
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
