"""Small detectors for small machines: minutes of training on two cores."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from leaven.errors import ModelError, nearest
from leaven.models.classifier import ModelSpec
from leaven.models.detection.anchors import AnchorGrid
from leaven.models.detection.backbones import SmallPyramid
from leaven.models.detection.box_head import BoxHead, DeltaHead
from leaven.models.detection.bucket_head import BucketHead
from leaven.models.detection.cosine_head import CosineHead
from leaven.models.detection.dense_head import DenseHead
from leaven.models.detection.fam3d import AlignedRetina
from leaven.models.detection.mask_branch import MaskBranch
from leaven.models.detection.one_stage import FCOS, Retina, giou
from leaven.models.detection.pooling import RegionPool
from leaven.models.detection.rpn import ProposalNetwork, ProposalRules
from leaven.models.detection.two_stage import SampleRules, TwoStage
from leaven.models.small import Norm

BoxHeadName = Literal["delta", "bucket", "cosine"]

_WIDTHS = (24, 48, 96, 160)
_CHANNELS = 64
_GROUPS = 8


def box_head(
    name: BoxHeadName, channels: int, resolution: int, width: int, classes: int, **options: Any
) -> BoxHead:
    """The box head ``delta``, ``bucket`` or ``cosine``."""
    heads: dict[str, type[BoxHead]] = {
        "bucket": BucketHead,
        "cosine": CosineHead,
        "delta": DeltaHead,
    }
    if name not in heads:
        raise ModelError(
            f"There is no box head named {name!r}.",
            "'delta', 'bucket' or 'cosine'",
            nearest(str(name), heads),
        )
    return heads[name](channels, resolution, width, classes, **options)


def rcnn_small(
    spec: ModelSpec,
    *,
    widths: tuple[int, ...] = _WIDTHS,
    channels: int = _CHANNELS,
    hidden: int = 128,
    anchors: tuple[float, ...] = (12, 24, 48),
    norm: Norm = "group",
    box_head: BoxHeadName = "delta",
    box: dict[str, Any] | None = None,
) -> TwoStage:
    """``rcnn-small``: Faster R-CNN on four stages, with maps at strides 4, 8 and 16.

    Args:
        widths: channels of the stages.
        channels: of the maps.
        hidden: units of the box head.
        anchors: the side in pixels of each level, with ratios 1/2, 1 and 2.
        norm: of the stages.
        box_head: ``delta``, ``bucket`` or ``cosine``.
        box: of the box head: ``quality`` of ``delta``; ``bins`` and ``enlarge`` of ``bucket``;
            ``scale`` and ``dropout`` of ``cosine``.
    """
    return _small_rcnn(spec, widths, channels, hidden, anchors, norm, box_head, box or {})


def maskrcnn_small(
    spec: ModelSpec,
    *,
    widths: tuple[int, ...] = _WIDTHS,
    channels: int = _CHANNELS,
    hidden: int = 128,
    anchors: tuple[float, ...] = (12, 24, 48),
    norm: Norm = "group",
    quality: bool = False,
) -> TwoStage:
    """``maskrcnn-small``: ``rcnn-small`` with a mask branch of two convolutions and 28x28 pixels.

    Args:
        quality: with outputs for the IoU of box and mask (005).
    """
    branch = MaskBranch(channels, channels, 2, len(spec.classes), quality=quality)
    masks = branch, RegionPool(14, len(widths) - 1, 112)
    box = {"quality": quality}
    return _small_rcnn(spec, widths, channels, hidden, anchors, norm, "delta", box, masks)


def _small_rcnn(
    spec: ModelSpec,
    widths: tuple[int, ...],
    channels: int,
    hidden: int,
    anchors: tuple[float, ...],
    norm: Norm,
    head: BoxHeadName,
    box: dict[str, Any],
    masks: tuple[MaskBranch, RegionPool] | None = None,
) -> TwoStage:
    backbone = SmallPyramid(spec.shape[0], tuple(widths), channels, norm)
    grid = AnchorGrid(tuple((float(side),) for side in anchors), (0.5, 1.0, 2.0))
    rules = ProposalRules(before=(256, 256), after=(256, 128), count=128)
    return TwoStage(
        spec,
        backbone.strides[-1],
        backbone=backbone,
        rpn=ProposalNetwork(channels, grid, rules),
        pool=RegionPool(7, len(backbone.strides), 112),
        box=box_head(head, channels, 7, hidden, len(spec.classes), **box),
        masks=masks,
        rules=SampleRules(count=128),
    )


def retina_small(
    spec: ModelSpec,
    *,
    widths: tuple[int, ...] = _WIDTHS,
    channels: int = _CHANNELS,
    depth: int = 2,
    scale: float = 4.0,
    octaves: int = 1,
    ratios: tuple[float, ...] = (1.0,),
    norm: Norm = "group",
    align: bool = False,
) -> Retina:
    """``retina-small``: RetinaNet with one square anchor per cell, maps at strides 4, 8 and 16.

    The deltas are coded with spreads 0.1, 0.1, 0.2, 0.2 and trained by GIoU.

    Args:
        widths: channels of the stages.
        channels: of the maps and the towers.
        depth: convolutions per tower.
        scale: side of an anchor in strides.
        octaves, ratios: more anchors per cell: sizes of ``2^(i / octaves)`` times that side, each
            with these ratios of height to width; the paper of RetinaNet has 3 of both.
        norm: of the stages; the towers have group norm.
        align: take each side of a box from the place and level that know it best (119).
    """
    backbone = SmallPyramid(spec.shape[0], tuple(widths), channels, norm)
    kind = partial(AlignedRetina, channels=channels) if align else Retina
    sides = [scale * 2 ** (number / octaves) for number in range(octaves)]
    grid = AnchorGrid(
        tuple(tuple(side * stride for side in sides) for stride in backbone.strides), tuple(ratios)
    )
    return kind(
        spec,
        backbone.strides[-1],
        backbone=backbone,
        head=DenseHead(channels, grid.count, len(spec.classes), depth=depth, groups=_GROUPS),
        grid=grid,
        weights=(10.0, 10.0, 5.0, 5.0),
        box_loss=giou,
    )


def fcos_small(
    spec: ModelSpec,
    *,
    widths: tuple[int, ...] = _WIDTHS,
    channels: int = _CHANNELS,
    depth: int = 2,
    norm: Norm = "group",
    centreness: bool = True,
) -> FCOS:
    """``fcos-small``: FCOS, maps at strides 4, 8 and 16.

    Args:
        widths, channels, depth, norm: as of ``retina-small``.
        centreness: score by it too.
    """
    backbone = SmallPyramid(spec.shape[0], tuple(widths), channels, norm)
    head = DenseHead(
        channels,
        1,
        len(spec.classes),
        depth=depth,
        groups=_GROUPS,
        centreness=centreness,
        # Distances are cut at 0, where a start at 0 would leave half of them without a gradient.
        distance=1.0,
    )
    return FCOS(
        spec,
        backbone.strides[-1],
        backbone=backbone,
        head=head,
        grid=AnchorGrid(tuple((float(stride),) for stride in backbone.strides)),
    )
