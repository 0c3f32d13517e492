"""DeepLabV3, FCN and LR-ASPP of torchvision as segmentation networks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models.adapters import build_other, no_such, no_weights
from leaven.models.segmentation.layers import fitted
from leaven.models.segmentation.segmenter import SegmentationNet

BACKBONE = "imagenet"
"""The published weights that start the encoder alone; decoder and head are new."""


class TorchvisionNet(SegmentationNet):
    """A DeepLabV3 or FCN of torchvision without its last convolution.

    ``encode`` gives the output of every stage of the backbone from stride 4 on, of a MobileNet the
    one at stride 8 and the last; ``decode`` uses the last alone, as these networks do. The
    auxiliary classifier is left out.
    """

    decoder_parts = ("model.classifier",)

    def __init__(self, model: nn.Module, grey: bool) -> None:
        super().__init__()
        self.model, self.grey = model, grey
        model.aux_classifier = None  # type: ignore[assignment]
        classifier: Any = model.classifier
        self.last = f"{len(classifier) - 1}"
        self.num_features = classifier[-1].in_channels
        classifier[-1] = nn.Identity()
        _show_stages(model.backbone)

    def encode(self, images: Tensor) -> list[Tensor]:
        images = images.expand(-1, 3, -1, -1) if self.grey else images
        return list(self.model.backbone(images).values())  # type: ignore[operator]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        return self.model.classifier(features[-1])  # type: ignore[operator]

    def translate(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        last = f"classifier.{self.last}."
        head = [state[last + n] for n in ("weight", "bias") if last + n in state]
        left = (last, "aux_classifier.")
        body = {f"model.{n}": value for n, value in state.items() if not n.startswith(left)}
        return body, head if len(head) == 2 else []


class LiteReducedNet(SegmentationNet):
    """The LR-ASPP of torchvision with its two classifiers as one 1x1 convolution.

    ``W_l low + b_l + W_h high + b_h`` is ``[W_l W_h] [low; high] + (b_l + b_h)``: pixel features
    are the map at stride 8 and the gated high one in its size, one over the other.
    """

    decoder_parts = ("model.classifier",)

    def __init__(self, model: nn.Module, grey: bool) -> None:
        super().__init__()
        self.model, self.grey = model, grey
        classifier: Any = model.classifier
        self.num_features = (
            classifier.low_classifier.in_channels + classifier.high_classifier.in_channels
        )
        del classifier.low_classifier, classifier.high_classifier

    def encode(self, images: Tensor) -> list[Tensor]:
        images = images.expand(-1, 3, -1, -1) if self.grey else images
        return list(self.model.backbone(images).values())  # type: ignore[operator]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        low, high = features
        classifier: Any = self.model.classifier
        gated = classifier.cbr(high) * classifier.scale(high)
        return torch.cat([low, fitted(gated, low, align_corners=False)], 1)

    def translate(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        low, high = "classifier.low_classifier.", "classifier.high_classifier."
        body = {f"model.{n}": v for n, v in state.items() if not n.startswith((low, high))}
        if not all(part + n in state for part in (low, high) for n in ("weight", "bias")):
            return body, []
        weight = torch.cat([state[low + "weight"], state[high + "weight"]], 1)
        return body, [weight, state[low + "bias"] + state[high + "bias"]]


def torchvision_net(
    name: str, shape: tuple[int, ...], published: str | None, options: dict[str, Any]
) -> tuple[SegmentationNet, list[Tensor]]:
    """The network ``torchvision:<name>`` and the head of its published weights, or [].

    ``published`` is ``"default"``, a tag, ``"imagenet"`` for the backbone alone, or None.

    Raises:
        ModelError: for unknown names, options and tags, pictures that have not 1 or 3 channels,
            and weights that cannot be downloaded.
    """
    from torchvision import models

    known = models.list_models(module=models.segmentation)
    if name not in known:
        raise no_such(
            "torchvision", name, known, "torchvision:deeplabv3_resnet50", kind="segmentation"
        )
    if shape[0] not in (1, 3):
        raise ModelError(
            f"Pictures of {shape[0]} channels for the model 'torchvision:{name}'.",
            "1 or 3 channels",
            "Use a small net or a timm model.",
        )
    if options:
        # The builders of torchvision take any keyword without a word.
        raise ModelError(
            f"The model 'torchvision:{name}' has no option {next(iter(options))!r}.",
            "no options",
            "Leave the options out, or use a timm backbone.",
        )
    wanted: dict[str, Any] = {"weights": None, "weights_backbone": None}
    tags = [weight.name for weight in models.get_model_weights(name)]
    if published == BACKBONE:
        wanted["weights_backbone"] = "DEFAULT"
    elif published is not None:
        if published not in ("default", *tags):
            raise no_weights(f"torchvision:{name}", published, [BACKBONE, *tags])
        wanted["weights"] = published.replace("default", "DEFAULT")
    model = build_other(f"torchvision:{name}", lambda: models.get_model(name, **wanted), published)
    state = model.state_dict()
    kind = LiteReducedNet if name.startswith("lraspp") else TorchvisionNet
    net = kind(model, shape[0] == 1)
    return net, net.translate(state)[1] if wanted["weights"] else []


def _show_stages(backbone: Any) -> None:
    """Let the getter of intermediate layers give the low-level maps too, in place."""
    low = [name for name, _ in backbone.named_children() if re.fullmatch(r"layer[123]", name)]
    if not low:
        # A MobileNet: the expansions of the first block of each stage mark where it halves.
        strided = [name for name, part in backbone.named_children() if getattr(part, "_is_cn", 0)]
        low = [strided[1]]
    (last,) = (name for name, key in backbone.return_layers.items() if key == "out")
    backbone.return_layers = {**{name: name for name in low}, last: "out"}
