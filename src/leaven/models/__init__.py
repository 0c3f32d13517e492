"""Models: small nets, adapters to timm, torchvision and open_clip, frozen backbones, saving, loading and exporting."""

from leaven.models.adaptation import OnBatches, batch_statistics, train_only
from leaven.models.aggregation import average_states, disjoint_average
from leaven.models.attention_unet import AttentionUNet, Translator
from leaven.models.backbone import Backbone, load_backbone, stack
from leaven.models.build import build_model, default_model, model_names
from leaven.models.classifier import Classifier, ModelSpec
from leaven.models.committee import Committee
from leaven.models.denoiser import Denoiser, new_denoiser
from leaven.models.ensemble import ensemble
from leaven.models.estimators import build_estimator, estimator_votes, fit_estimator
from leaven.models.features import capture
from leaven.models.files import load_model, save_model
from leaven.models.headed import Headed, perceptron, with_head
from leaven.models.logistic import logistic_weights
from leaven.models.maps import last_maps
from leaven.models.mixture import mixture
from leaven.models.onnx import export_onnx
from leaven.models.patch_critic import PatchCritic
from leaven.models.rewarder import Rewarder
from leaven.models.segmentation import (
    SegmentationNet,
    Segmenter,
    build_segmenter,
    redraw_decoder,
    segmenter_names,
)
from leaven.models.statistics import unmoved_statistics
from leaven.models.structured import StructuredHead, structured
from leaven.models.trained import trained_classes, trained_classifier

__all__ = [
    "AttentionUNet",
    "Backbone",
    "Classifier",
    "Committee",
    "Denoiser",
    "Headed",
    "ModelSpec",
    "OnBatches",
    "PatchCritic",
    "Rewarder",
    "SegmentationNet",
    "Segmenter",
    "StructuredHead",
    "Translator",
    "average_states",
    "batch_statistics",
    "build_estimator",
    "build_model",
    "build_segmenter",
    "capture",
    "default_model",
    "disjoint_average",
    "ensemble",
    "estimator_votes",
    "export_onnx",
    "fit_estimator",
    "last_maps",
    "load_backbone",
    "load_model",
    "logistic_weights",
    "mixture",
    "model_names",
    "new_denoiser",
    "perceptron",
    "redraw_decoder",
    "save_model",
    "segmenter_names",
    "stack",
    "structured",
    "train_only",
    "trained_classes",
    "trained_classifier",
    "unmoved_statistics",
    "with_head",
]
