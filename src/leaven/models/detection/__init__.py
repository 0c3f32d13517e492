"""Detectors and instance segmenters: boxes, and masks in them."""

from leaven.models.detection.box_head import BoxHead, DeltaHead, RegionOutputs
from leaven.models.detection.bucket_head import BucketCoder, BucketHead, bucket_loss, side_certainty
from leaven.models.detection.build import build_detector, detector_names
from leaven.models.detection.conv_instance import (
    CellOutputs,
    ConvInstance,
    InstanceWeights,
    mask_terms,
)
from leaven.models.detection.corrector import BoxCorrector
from leaven.models.detection.cosine_head import CosineHead
from leaven.models.detection.cost_assign import (
    assign_by_cost,
    overlap_weighted_losses,
    predicted_iou,
)
from leaven.models.detection.dense_head import DenseHead, DenseOutputs
from leaven.models.detection.detector import Detections, Detector, evaluating
from leaven.models.detection.fam3d import AlignedRetina, BoxAlignment, mix_scales, move_sides
from leaven.models.detection.mask_branch import (
    MaskBranch,
    MaskOutputs,
    cropped_masks,
    mask_iou,
    mask_loss,
    quality_loss,
)
from leaven.models.detection.of_transformers import RTDetr
from leaven.models.detection.one_stage import FCOS, OneStage, Retina
from leaven.models.detection.onnx import export_detector
from leaven.models.detection.pooling import Pyramid, RegionPool
from leaven.models.detection.regions import (
    BACKGROUND,
    IGNORED,
    Regions,
    Targets,
    assign,
    best_overlap,
    suppress,
)
from leaven.models.detection.rpn import AnchorOutputs, ProposalNetwork
from leaven.models.detection.two_stage import RegionSample, TwoStage, dense_masks

__all__ = [
    "BACKGROUND",
    "FCOS",
    "IGNORED",
    "AlignedRetina",
    "AnchorOutputs",
    "BoxAlignment",
    "BoxCorrector",
    "BoxHead",
    "BucketCoder",
    "BucketHead",
    "CellOutputs",
    "ConvInstance",
    "CosineHead",
    "DeltaHead",
    "DenseHead",
    "DenseOutputs",
    "Detections",
    "Detector",
    "InstanceWeights",
    "MaskBranch",
    "MaskOutputs",
    "OneStage",
    "ProposalNetwork",
    "Pyramid",
    "RTDetr",
    "RegionOutputs",
    "RegionPool",
    "RegionSample",
    "Regions",
    "Retina",
    "Targets",
    "TwoStage",
    "assign",
    "assign_by_cost",
    "best_overlap",
    "bucket_loss",
    "build_detector",
    "cropped_masks",
    "dense_masks",
    "detector_names",
    "evaluating",
    "export_detector",
    "mask_iou",
    "mask_loss",
    "mask_terms",
    "mix_scales",
    "move_sides",
    "overlap_weighted_losses",
    "predicted_iou",
    "quality_loss",
    "side_certainty",
    "suppress",
]
