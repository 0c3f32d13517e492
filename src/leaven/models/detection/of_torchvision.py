"""torchvision's detectors on ResNet-50 with a feature pyramid, and their published weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, detection, get_model_weights
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from leaven.errors import ModelError
from leaven.models.adapters import no_weights
from leaven.models.classifier import ModelSpec
from leaven.models.detection.anchors import AnchorGrid
from leaven.models.detection.backbones import Levels
from leaven.models.detection.dense_head import DenseHead
from leaven.models.detection.detector import Detector
from leaven.models.detection.mask_branch import MaskBranch
from leaven.models.detection.one_stage import FCOS, Retina
from leaven.models.detection.pooling import RegionPool
from leaven.models.detection.rpn import ProposalNetwork, ProposalRules
from leaven.models.detection.small import BoxHeadName, box_head
from leaven.models.detection.two_stage import TwoStage

IMAGENET = "imagenet"
"""The weights of the backbone alone, trained to classify."""

_DIVISOR = 32
_RETINA_SIZES = tuple(
    tuple(float(int(side * 2 ** (third / 3))) for third in range(3))
    for side in (32, 64, 128, 256, 512)
)


def _backbone(frozen: bool, deep: bool, eps: float, imagenet: bool) -> Levels:
    """Maps at strides 4 to 64 (by pooling), or with ``deep`` at 8 to 128 (by convolutions)."""
    norm = partial(FrozenBatchNorm2d, eps=eps) if frozen else nn.BatchNorm2d
    body = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=ResNet50_Weights.IMAGENET1K_V1 if imagenet else None,
        norm_layer=norm,
        trainable_layers=3 if frozen else 5,
        returned_layers=[2, 3, 4] if deep else None,
        extra_blocks=LastLevelP6P7(256, 256) if deep else None,
    )
    return Levels(body)


def _rcnn(
    spec: ModelSpec,
    imagenet: bool,
    frozen: bool,
    head: BoxHeadName,
    box: dict[str, Any],
    masks: tuple[MaskBranch, RegionPool] | None = None,
) -> TwoStage:
    sizes = tuple((float(side),) for side in (32, 64, 128, 256, 512))
    return TwoStage(
        spec,
        _DIVISOR,
        backbone=_backbone(frozen, False, 0.0, imagenet),
        rpn=ProposalNetwork(256, AnchorGrid(sizes, (0.5, 1.0, 2.0), 0.0), ProposalRules()),
        pool=RegionPool(7, 4),
        box=box_head(head, 256, 7, 1024, len(spec.classes), **box),
        masks=masks,
    )


def fasterrcnn(
    spec: ModelSpec,
    imagenet: bool = False,
    *,
    frozen: bool = False,
    box_head: BoxHeadName = "delta",
    box: dict[str, Any] | None = None,
) -> TwoStage:
    """Options: ``frozen`` batch norm with the first two stages fixed, as the published weights are
    used; the others as of ``rcnn-small``."""
    return _rcnn(spec, imagenet, frozen, box_head, box or {})


def maskrcnn(
    spec: ModelSpec, imagenet: bool = False, *, frozen: bool = False, quality: bool = False
) -> TwoStage:
    """Options as of ``fasterrcnn`` and ``maskrcnn-small``."""
    branch = MaskBranch(256, 256, 4, len(spec.classes), quality=quality)
    masks = branch, RegionPool(14, 4)
    return _rcnn(spec, imagenet, frozen, "delta", {"quality": quality}, masks)


def retinanet(spec: ModelSpec, imagenet: bool = False, *, frozen: bool = False) -> Retina:
    """Nine anchors per cell, maps at strides 8 to 128."""
    return Retina(
        spec,
        _DIVISOR,
        backbone=_backbone(frozen, True, 0.0, imagenet),
        head=DenseHead(256, 9, len(spec.classes)),
        grid=AnchorGrid(_RETINA_SIZES, (0.5, 1.0, 2.0), 0.0),
    )


def fcos(
    spec: ModelSpec, imagenet: bool = False, *, frozen: bool = False, centreness: bool = True
) -> FCOS:
    """Points at strides 8 to 128. Options: ``centreness``, to score by it too."""
    return FCOS(
        spec,
        _DIVISOR,
        backbone=_backbone(frozen, True, 1e-5, imagenet),
        head=DenseHead(256, 1, len(spec.classes), groups=32, centreness=centreness),
        grid=AnchorGrid(tuple((float(8 << level),) for level in range(5)), (1.0,), 0.0),
    )


BUILDERS: dict[str, Callable[..., Detector]] = {
    "fasterrcnn_resnet50_fpn": fasterrcnn,
    "fcos_resnet50_fpn": fcos,
    "maskrcnn_resnet50_fpn": maskrcnn,
    "retinanet_resnet50_fpn": retinanet,
}

_RENAMED = (
    (r"^backbone\.", "backbone.body."),
    (r"^rpn\.head\.", "proposals.head."),
    (r"^roi_heads\.box_head\.", "box.hidden."),
    (r"^roi_heads\.box_predictor\.cls_score\.", "box.class_logits."),
    (r"^roi_heads\.box_predictor\.bbox_pred\.", "box.deltas."),
    (r"^roi_heads\.mask_head\.", "mask.hidden."),
    (r"^roi_heads\.mask_predictor\.", "mask.masks."),
    (r"^head\.classification_head\.cls_logits\.", "head.class_logits."),
    (r"^head\.regression_head\.bbox_reg\.", "head.location."),
    (r"^head\.regression_head\.bbox_ctrness\.", "head.centreness."),
    (r"^head\.classification_head\.conv\.", "head.class_tower."),
    (r"^head\.regression_head\.conv\.", "head.box_tower."),
)
_FLAT_TOWER = re.compile(r"^(head\.\w+_tower)\.(\d+)\.(weight|bias)$")
_HEADS = ("roi_heads.box_predictor.cls_score.bias", "head.classification_head.cls_logits.bias")


def published(name: str, tag: str) -> dict[str, Tensor]:
    """The weights of torchvision's detector ``name`` under ``tag`` or ``default``, in the names of
    leaven."""
    known = get_model_weights(name)
    tags = [weights.name for weights in known]
    if tag not in ("default", *tags):
        raise no_weights(f"torchvision:{name}", tag, [*tags, IMAGENET])
    try:
        state = known[tag.replace("default", "DEFAULT")].get_state_dict(
            progress=False, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"The published weights {tag!r} of 'torchvision:{name}' cannot be had: {error}.",
            "a connection to the server of the weights, or a copy in the cache",
            "Download them where there is a connection, and give the path of the file as weights.",
        ) from error
    return translated(name, dict(state), tag)


def is_torchvision(state: dict[str, Tensor]) -> bool:
    """Whether ``state`` is of a whole detector in the names of torchvision."""
    return any(head in state for head in _HEADS)


def translated(name: str, state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The weights of torchvision's detector ``name`` (of any age of its format) in the names of
    leaven: the background is the last class and has no box and no mask.

    Raises:
        ModelError: they are of another network.
    """
    head = next(head for head in _HEADS if head in state)
    anchors = 9 if name.startswith("retinanet") else 1
    builder = getattr(detection, name)
    number = max(1, len(state[head]) // anchors)
    reference = builder(weights=None, weights_backbone=None, num_classes=number)
    try:
        # torchvision itself brings the names of former versions up to date.
        reference.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"The weights in {source} do not fit 'torchvision:{name}': {str(error)[:300]}.",
            f"the state of torchvision.models.detection.{name}",
            "Use the model these weights were made with, or other weights.",
        ) from error
    return _leaven_names(reference.state_dict())


def _leaven_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        if "box_predictor.cls_score" in name:
            value = value.roll(-1, 0)
        elif "box_predictor.bbox_pred" in name:
            value = value[4:]
        elif "mask_fcn_logits" in name:
            value = value[1:]
        for pattern, new in _RENAMED:
            name = re.sub(pattern, new, name)
        if flat := _FLAT_TOWER.match(name):
            # FCOS counts convolution, norm and activation one by one.
            name = f"{flat[1]}.{int(flat[2]) // 3}.{int(flat[2]) % 3}.{flat[3]}"
        renamed[name] = value
    return renamed
