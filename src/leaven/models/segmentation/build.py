"""Segmenters by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.errors import ModelError, nearest
from leaven.models.build import check_spec, checked_shape, per_channel, with_options
from leaven.models.classifier import ModelSpec
from leaven.models.segmentation.deeplab_small import DeepLabSmall
from leaven.models.segmentation.hub import transformers_net
from leaven.models.segmentation.of_timm import timm_net
from leaven.models.segmentation.of_torchvision import torchvision_net
from leaven.models.segmentation.segmenter import SegmentationNet, Segmenter
from leaven.models.segmentation.unet import UNet
from leaven.models.weights import is_file_name, load_head, load_into, read_weights

log = logging.getLogger(__name__)

_SMALL: dict[str, Callable[..., SegmentationNet]] = {"deeplab-small": DeepLabSmall, "unet": UNet}
_LIBRARIES = ("timm", "torchvision", "transformers")


def build_segmenter(
    name: str,
    classes: Sequence[str],
    shape: tuple[int, ...],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    weights: str | Path | None = None,
    options: dict[str, Any] | None = None,
) -> Segmenter:
    """Build the segmenter ``name`` for ``classes``.

    Start values come from torch's global generator (``torch.manual_seed``).

    Args:
        name: one of ``segmenter_names()``; ``torchvision:<name>`` of a DeepLabV3, FCN or LR-ASPP;
            ``timm:<name>``, any backbone that gives maps, under the decoder of DeepLabV3+;
            ``transformers:segformer`` or ``transformers:mask2former`` with their configuration as
            options; ``transformers:`` with a local folder or a name on the hub of such a model.
        classes: the K class names in the order of the outputs.
        shape: (C, H, W) of the pictures. Pictures of another H and W go through as well where the
            network takes them.
        mean, std: per channel, of pictures in [0, 1]; one value stands for all channels.
        weights: a ``.safetensors`` or torch file, of leaven, or of the library's whole model for
            torchvision and timm; ``"default"`` or the tag of published weights, which are
            downloaded; for torchvision ``"imagenet"`` starts the backbone alone. A head of another
            number of classes starts anew, which the log says. None for random start values.
        options: further keyword arguments of the net, such as ``{"widths": [8, 16, 32]}``.

    Raises:
        ModelError: for unknown names, options, one class, shapes that the net does not take, or
            weights that do not fit.
        MissingExtraError: for a library that is not installed.
    """
    shape = checked_shape(shape)
    spec = ModelSpec(
        name,
        tuple(str(c) for c in classes),
        shape,
        per_channel("mean", mean, shape[0]),
        per_channel("std", std, shape[0]),
        options=dict(options or {}),
        task="segmentation",
    )
    check_spec(spec)
    if len(shape) != 3:
        raise ModelError(
            f"The shape {shape} for the segmenter {name!r}.",
            "pictures (channels, height, width)",
            "Use pictures; feature rows have no pixels.",
        )
    local = weights if weights is not None and is_file_name(weights) else None
    published = str(weights) if weights is not None and local is None else None
    net, given, spec = _net(spec, published, local)
    widths, strides = _measured(net, spec)
    model = Segmenter(net, net.new_head(len(spec.classes)), spec, widths, strides)
    if given:
        load_head(model.head, given, f"{published} of {name}")
    if local is not None:
        _load(model, local)
    return model


def segmenter_names() -> list[str]:
    """The names of the small nets, sorted; those of other libraries come on top."""
    return sorted(_SMALL)


def redraw_decoder(model: Segmenter, generator: torch.Generator) -> None:
    """Draw the start values of decoder and head anew, in place, by the net's own rule.

    So two copies of one model are told apart: the same encoder, other heads. The seed is drawn
    from ``generator``; torch's global generators are left as they were.

    Source: Chen et al., Cross Pseudo Supervision, CVPR 2021. Used by: 025.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        model.take_decoder(segmenter_of(model.spec))


def segmenter_of(spec: ModelSpec) -> Segmenter:
    """The segmenter of a spec, with random start values."""
    return build_segmenter(
        spec.name, spec.classes, spec.shape, mean=spec.mean, std=spec.std, options=spec.options
    )


def _net(
    spec: ModelSpec, published: str | None, local: str | Path | None
) -> tuple[SegmentationNet, list[Tensor], ModelSpec]:
    """The net, the head of its published weights or [], and the spec to build it again."""
    library, colon, short = spec.name.partition(":")
    if not colon and spec.name in _SMALL:
        if published is not None:
            raise ModelError(
                f"There are no published weights {published!r} for the model {spec.name!r}.",
                "the path of a .safetensors or torch file",
                "Give a path, or no weights.",
            )
        return with_options(_SMALL[spec.name], spec), [], spec
    if colon and library == "torchvision":
        return *torchvision_net(short, spec.shape, published, spec.options), spec
    if colon and library == "timm":
        body = None if local is None or _of_leaven(read_weights(local)) else local
        return timm_net(short, spec.shape, published, body, spec.options), [], spec
    if colon and library == "transformers":
        return transformers_net(spec, published)
    raise ModelError(
        f"There is no segmenter named {spec.name!r}.",
        "a small net, 'torchvision:<name>', 'timm:<name>' or 'transformers:<name>'",
        nearest(library, _LIBRARIES) if colon else nearest(spec.name, _SMALL),
    )


def _measured(net: SegmentationNet, spec: ModelSpec) -> tuple[list[int], list[int]]:
    """Channels and strides of the encoder's maps, from one empty picture."""
    training = net.training
    try:
        with torch.no_grad():
            features = net.eval().encode(torch.zeros(1, *spec.shape))
            net.decode(features)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise _too_small(spec, " ".join(str(error).split())[:300]) from error
    net.train(training)
    strides = [max(1, round(spec.shape[1] / maps.shape[2])) for maps in features]
    if features[-1].shape[2:].numel() == 1:
        raise _too_small(spec, "its coarsest map would have one position")
    return [maps.shape[1] for maps in features], strides


def _too_small(spec: ModelSpec, reason: str) -> ModelError:
    return ModelError(
        f"The segmenter {spec.name!r} does not take pictures of {spec.shape[1]}x{spec.shape[2]} "
        f"pixels: {reason}.",
        "larger pictures, or the size the model was made for",
        "Use larger pictures, or a net of fewer resolutions such as 'unet' with fewer widths.",
    )


def _of_leaven(state: dict[str, Tensor]) -> bool:
    return {"mean", "std"} <= state.keys() and any(name.startswith("net.") for name in state)


def _load(model: Segmenter, path: str | Path) -> None:
    """Start from a file of leaven, or of the library the net is from."""
    state = read_weights(path)
    if _of_leaven(state):
        body = {n.removeprefix("net."): v for n, v in state.items() if n.startswith("net.")}
        head = [state[name] for name in ("head.weight", "head.bias") if name in state]
    elif model.spec.name.startswith("timm:"):
        return
    else:
        body, head = model.net.translate(state)
    own = model.net.state_dict()
    for name in own:
        part = name.startswith(tuple(f"{part}." for part in model.net.class_parts))
        if part and name in body and body[name].shape != own[name].shape:
            log.info("%s has %s of another number of classes: it starts anew.", path, name)
            body[name] = own[name]
    load_into(model.net, body, path)
    if head or list(model.head.parameters()):
        load_head(model.head, head, path)
