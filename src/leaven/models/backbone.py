"""Frozen backbones: pictures in, features out, and back to one classifier of pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leaven.errors import ModelError, nearest
from leaven.models.adapters import AdaptedEncoder
from leaven.models.build import (
    PIXELS,
    STACKED,
    build_encoder,
    is_small_net,
    load_encoder,
    model_names,
)
from leaven.models.classifier import Classifier, ModelSpec, channels, normalised
from leaven.models.files import DESCRIPTION, load_model
from leaven.models.stacked import Stacked
from leaven.models.vectors import Flat
from leaven.models.weights import is_file_name

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class BackboneSpec:
    """What is needed to build a backbone again.

    Attributes:
        name: as for ``load_backbone``; of a model folder the name of the model in it.
        shape: (C, H, W) of the pictures.
        mean, std: per channel, of pictures in [0, 1].
        options: of the builder.
    """

    name: str
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)


class Backbone(nn.Module):
    """A frozen encoder in eval mode: pictures (B, C, H, W) to features (B, D) float32.

    Takes uint8, or float in [0, 1]; normalises inside.

    Args:
        encoder: normalised pictures -> features, with ``num_features``.
        spec: how it was built.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, spec: BackboneSpec) -> None:
        super().__init__()
        self.encoder, self.spec = encoder, spec
        self.num_features = int(encoder.num_features)  # type: ignore[arg-type]
        self.register_buffer("mean", channels(spec.mean, len(spec.shape)))
        self.register_buffer("std", channels(spec.std, len(spec.shape)))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        images = images.to(self.mean.device, non_blocking=True)
        return self.encoder(normalised(images, self.mean, self.std)).float()


def load_backbone(
    name: str,
    shape: tuple[int, ...],
    *,
    weights: str | Path | None = None,
    options: dict[str, Any] | None = None,
) -> Backbone:
    """A trained encoder by name, frozen, on the CPU.

    Pictures are normalised as its weights were trained: by what the file of leaven says, else by
    what the library says of the model.

    Args:
        name: ``"pixels"`` for the raw pixels in [0, 1]; ``timm:<name>``, ``torchvision:<name>``,
            ``openclip:<name>``; the folder of a run or of a model; a small net (with ``weights``).
        shape: (C, H, W) of the pictures.
        weights: a file, or the tag of published weights; the default ones when None.
        options: of the builder, such as ``{"width": 16}``.

    Raises:
        ModelError: an unknown name, weights that are missing or do not fit, or other pictures
            than the model takes.
        MissingExtraError: for a library that is not installed.
    """
    shape, options = tuple(shape), dict(options or {})
    if name == PIXELS:
        _no(name, weights)
        spec = BackboneSpec(PIXELS, shape, (0.0,) * shape[0], (1.0,) * shape[0])
        return Backbone(Flat(shape), spec)
    if (folder := model_folder(name)) is not None:
        _no(name, weights)
        return _from_folder(folder, shape)
    if ":" not in name and not is_small_net(name):
        raise ModelError(
            f"There is no backbone {name!r}.",
            "pixels, timm:NAME, torchvision:NAME, openclip:NAME, a small net with --weights, or "
            "the folder of a run",
            nearest(name, [PIXELS, *model_names()]),
        )
    if weights is None and ":" not in name:
        raise ModelError(
            f"The small net {name!r} has no published weights; untrained it tells classes badly.",
            "a file of its weights, or the folder of a run that trained one",
            "Give --weights FILE, or --features RUN with the folder of that run.",
        )
    return _from_weights(name, shape, "default" if weights is None else weights, options)


def stack(backbone: Backbone, rows: Classifier) -> Classifier:
    """The backbone and a classifier of its features as one classifier of pictures.

    ``stack(b, c)(images) = c(b(images))``, named ``BACKBONE+CLASSIFIER``; saved, exported and
    used as any other. The tensors are shared, not copied.
    """
    below, above = backbone.spec, rows.spec
    encoder = Stacked(backbone.encoder, rows.encoder)
    encoder.mean, encoder.std = rows.mean, rows.std
    spec = ModelSpec(
        f"{below.name}{STACKED}{above.name}",
        above.classes,
        below.shape,
        below.mean,
        below.std,
        above.dropout,
        {"backbone": below.options, "head": above.options},
    )
    return Classifier(encoder, rows.head, spec).to(rows.mean.device).eval()


def _from_weights(
    name: str, shape: tuple[int, ...], weights: str | Path, options: dict[str, Any]
) -> Backbone:
    local = weights if is_file_name(weights) else None
    none = (0.0,) * shape[0]
    spec = ModelSpec(name, ("", ""), shape, none, none, options=options)
    with torch.random.fork_rng(devices=[]):
        encoder = build_encoder(spec, None if local is not None else str(weights))
    said: Statistics | None = None
    if local is not None:
        _, said = load_encoder(encoder, local, name)
    if said is None and isinstance(encoder, AdaptedEncoder):
        said = encoder.statistics
    mean, std = said or ((0.5,), (0.5,))
    mean, std = (_fitted(values, shape[0]) for values in (mean, std))
    return Backbone(encoder, BackboneSpec(name, shape, mean, std, options))


def _from_folder(folder: Path, shape: tuple[int, ...]) -> Backbone:
    model = load_model(folder)
    if model.spec.shape != shape:
        wanted = "x".join(map(str, model.spec.shape))
        raise ModelError(
            f"The model in {folder} takes pictures of {wanted} (channels, height, width); these "
            f"are {'x'.join(map(str, shape))}.",
            "pictures of that shape",
            f"Use --image-size {model.spec.shape[-1]}, or another backbone.",
        )
    spec = model.spec
    return Backbone(
        model.encoder, BackboneSpec(spec.name, shape, spec.mean, spec.std, spec.options)
    )


def model_folder(name: str) -> Path | None:
    """The folder of a model, also where the folder of its run is given."""
    for folder in (Path(name), Path(name) / "model"):
        if (folder / DESCRIPTION).is_file():
            return folder
    return None


def _fitted(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    """One value per channel; their mean where the pictures have other channels."""
    return values if len(values) == count else (sum(values) / len(values),) * count


def _no(name: str, weights: str | Path | None) -> None:
    if weights is not None:
        raise ModelError(
            f"The weights {weights} were given for the backbone {name!r}, which brings its own.",
            "no weights with 'pixels' and with the folder of a run",
            "Leave --weights out.",
        )
