"""Segmentation networks: small ones, and those of torchvision, timm and transformers."""

from leaven.models.segmentation.build import (
    build_segmenter,
    redraw_decoder,
    segmenter_names,
    segmenter_of,
)
from leaven.models.segmentation.correlation import CorrelationHead
from leaven.models.segmentation.headed import (
    HeadedSegmenter,
    auxiliary_head,
    representation_head,
)
from leaven.models.segmentation.segmenter import SegmentationNet, Segmenter
from leaven.models.segmentation.vnet import VNet

__all__ = [
    "CorrelationHead",
    "HeadedSegmenter",
    "SegmentationNet",
    "Segmenter",
    "VNet",
    "auxiliary_head",
    "build_segmenter",
    "redraw_decoder",
    "representation_head",
    "segmenter_names",
    "segmenter_of",
]
