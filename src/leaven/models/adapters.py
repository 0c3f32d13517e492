"""Encoders from timm, torchvision and open_clip: any classification model, without its head."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from leaven.errors import MissingExtraError, ModelError, nearest

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and spread per channel that the published weights of torchvision were trained with."""

_AUXILIARY = ("aux1", "aux2", "AuxLogits")
"""The additional heads of GoogLeNet and Inception, which only their own training uses."""


class AdaptedEncoder(nn.Module):
    """A model of another library as an encoder: pictures (B, C, H, W) to features (B, D).

    Args:
        model: the model with its head taken off; gives (B, D).
        num_features: D.
        heads: the names of the heads in the files of the library.
        grey: pictures of one channel are repeated to three.

    Attributes:
        statistics: mean and spread per channel, of pictures in [0, 1], that the published weights
            of this model were trained with; None where the library does not say.
    """

    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def __init__(
        self, model: nn.Module, num_features: int, heads: Iterable[str], grey: bool = False
    ) -> None:
        super().__init__()
        self.model, self.num_features, self.grey = model, num_features, grey
        self.heads = tuple(heads)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.expand(-1, 3, -1, -1) if self.grey else images)

    def take_statistics(self, mean: Iterable[float], std: Iterable[float]) -> None:
        """Keeps what the library says of its pictures."""
        self.statistics = tuple(mean), tuple(std)

    def translate(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The weights of the library's whole model as those of ``model``, and of its head.

        The head is [weight, bias], or an empty list.
        """
        prefixes = tuple(f"{name}." for name in (*self.heads, *_AUXILIARY))
        body = {name: value for name, value in state.items() if not name.startswith(prefixes)}
        names = [f"{name}.{part}" for name in self.heads[:1] for part in ("weight", "bias")]
        head = [state[name] for name in names if name in state]
        return body, head if len(head) == 2 else []


class TimmEncoder(AdaptedEncoder):
    """A timm model; weights are brought to its layout and number of channels as timm does."""

    def translate(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        body, head = super().translate(state)
        convert = getattr(sys.modules[type(self.model).__module__], "checkpoint_filter_fn", None)
        if convert is not None:
            body = dict(convert(body, self.model))
        config: Any = getattr(self.model, "pretrained_cfg", {})
        first = config.get("first_conv")
        for name in (first,) if isinstance(first, str) else first or ():
            self._fit_channels(body, f"{name}.weight")
        return body, head

    def _fit_channels(self, body: dict[str, Tensor], name: str) -> None:
        from timm.models import adapt_input_conv

        own = self.model.state_dict().get(name)
        given = body.get(name)
        if own is None or given is None or own.ndim != 4 or own.shape[1] == given.shape[1]:
            return
        body[name] = adapt_input_conv(own.shape[1], given)


def adapted_encoder(
    name: str, shape: tuple[int, ...], published: str | None, options: dict[str, Any]
) -> AdaptedEncoder:
    """The encoder ``timm:<name>``, ``torchvision:<name>`` or ``openclip:<name>`` for pictures of
    ``shape`` (C, H, W).

    ``published`` is ``"default"`` or the tag of weights to download, or None for random weights.

    Raises:
        ModelError: for unknown names, options and tags, weights that cannot be downloaded, and
            models that do not take pictures of ``shape``.
        MissingExtraError: for ``timm:`` without timm, ``openclip:`` without open_clip.
    """
    library, _, short = name.partition(":")
    from leaven.models.openclip import openclip_encoder

    builders = {"openclip": openclip_encoder, "timm": _timm, "torchvision": _torchvision}
    if library not in builders:
        raise ModelError(
            f"There is no model named {name!r}.",
            "a small net, 'timm:<name>', 'torchvision:<name>' or 'openclip:<name>'",
            nearest(library, builders),
        )
    return builders[library](short, shape, published, options)


def _timm(
    name: str, shape: tuple[int, ...], published: str | None, options: dict[str, Any]
) -> AdaptedEncoder:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "timm", f"the model 'timm:{name}'") from error
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise no_such("timm", name, timm.list_models(), "timm:resnet18")
    pretrained = timm.list_pretrained(f"{architecture}*")
    tags = [full.partition(".")[2] for full in pretrained if full.split(".")[0] == architecture]
    if published is not None and published != "default":
        tag = published
    if (tag and tag not in tags) or (published and not tags):
        raise no_weights(f"timm:{architecture}", tag or "default", tags)
    full = f"{architecture}.{tag}" if tag else architecture
    config = timm.models.get_pretrained_cfg(full)
    size = {"img_size": shape[1:]} if config and config.fixed_input_size else {}

    def build() -> nn.Module:
        wanted = {"num_classes": 0, "in_chans": shape[0], **size, **options}
        return timm.create_model(full, pretrained=published is not None, **wanted)

    model = build_other(f"timm:{name}", build, published)
    heads = (config.classifier if config else None) or ()
    heads = (heads,) if isinstance(heads, str) else heads
    encoder = TimmEncoder(model, feature_width(f"timm:{name}", model, shape), heads)
    if config is not None:
        encoder.take_statistics(config.mean, config.std)
    return encoder


def _torchvision(
    name: str, shape: tuple[int, ...], published: str | None, options: dict[str, Any]
) -> AdaptedEncoder:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise no_such("torchvision", name, known, "torchvision:resnet18")
    if shape[0] not in (1, 3):
        raise ModelError(
            f"Pictures of {shape[0]} channels for the model 'torchvision:{name}'.",
            "1 or 3 channels",
            "Use a small net or a timm model.",
        )
    weights = None
    if published is not None:
        tags = [weight.name for weight in models.get_model_weights(name)]
        if published not in ("default", *tags):
            raise no_weights(f"torchvision:{name}", published, tags)
        weights = published.replace("default", "DEFAULT")
    wanted = dict(options)
    if weights is None and name.startswith("vit_"):
        wanted.setdefault("image_size", shape[1])
    if weights is None and name in ("googlenet", "inception_v3"):
        wanted.setdefault("init_weights", True)

    model = build_other(
        f"torchvision:{name}", lambda: models.get_model(name, weights=weights, **wanted), published
    )
    heads = _take_head(model)
    grey = shape[0] == 1
    width = feature_width(f"torchvision:{name}", model, (3, *shape[1:]))
    encoder = AdaptedEncoder(model, width, heads, grey)
    encoder.take_statistics(*IMAGENET)
    return encoder


def _take_head(model: nn.Module) -> tuple[str, ...]:
    """Take the last linear layer off a torchvision model, in place, and return its name.

    SqueezeNet classifies by a convolution; there the mean over the positions is left.
    """
    for name in _AUXILIARY:
        if hasattr(model, name):
            model.aux_logits = False  # type: ignore[assignment]
            setattr(model, name, None)
    linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        model.classifier = nn.AdaptiveAvgPool2d(1)
        return ("classifier.1",)
    model.set_submodule(linear[-1], nn.Identity())
    return (linear[-1],)


def build_other(name: str, build: Callable[[], nn.Module], published: str | None) -> nn.Module:
    """Call a builder of another library; what it raises is told in leaven's way."""
    try:
        return build()
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        if published is None:
            raise ModelError(
                f"The model {name!r} cannot be built: {reason}.",
                "options and picture sizes that this model takes",
                "Change the options of the model, the picture size, or the model.",
            ) from error
        raise ModelError(
            f"The published weights {published!r} of {name!r} cannot be had: {reason}.",
            "a connection to the server of the weights, or a copy in the cache",
            "Download them where there is a connection, and give the path of the file as weights.",
        ) from error


def feature_width(name: str, model: nn.Module, shape: tuple[int, ...]) -> int:
    """D, from one empty picture: each library has its own word for it, and not every model."""
    training = model.training
    try:
        with torch.no_grad():
            features = model.eval()(torch.zeros(1, *shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise ModelError(
            f"The model {name!r} does not take pictures of {shape[1]}x{shape[2]} pixels: {reason}.",
            "pictures of the size the model was made for",
            "Resize the pictures, or use a model for this size such as 'cnn-small'.",
        ) from error
    model.train(training)
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise ModelError(
            f"The model {name!r} gives no feature vector per picture.",
            "an image classification model",
            "Use another model.",
        )
    return features.shape[1]


def no_such(
    library: str, name: str, known: Iterable[str], example: str, kind: str = "classification"
) -> ModelError:
    """The error for a ``kind`` of model that ``library`` does not have."""
    names = list(known)
    close = nearest(name, names)
    if close.startswith("Known names"):
        close = f"There are {len(names)} names; see the documentation of {library}."
    return ModelError(
        f"{library} has no {kind} model named {name!r}.",
        f"the name of a {library} model, such as '{example}'",
        close,
    )


def no_weights(name: str, tag: str, tags: list[str]) -> ModelError:
    """The error for published weights that there are not."""
    return ModelError(
        f"There are no published weights {tag!r} for the model {name!r}.",
        "'default' or one of: " + ", ".join(tags) if tags else "no published weights: it has none",
        nearest(tag, tags) if tags else "Give the path of a weights file, or no weights.",
    )
