"""How a model is trained on labels: losses and mixing."""

from leaven.learn.adversarial import (
    critic_loss,
    deception_loss,
    discriminator_loss,
    gradient_penalty,
    judging,
    realism_loss,
)
from leaven.learn.agreement import agreement_divergence
from leaven.learn.annealing import annealed_cross_entropy, release_limit
from leaven.learn.balanced_items import BalancedItems
from leaven.learn.batch_prototypes import prototype_loss
from leaven.learn.class_set import class_set_cross_entropy
from leaven.learn.class_weights import class_weights, effective_weights
from leaven.learn.classmix import classmix_mask
from leaven.learn.consistency import divergence, mean_squared_consistency
from leaven.learn.cutmix import batch_box, half_rectangle, mix, one_rectangle, xor_rectangles
from leaven.learn.distillation import block_cross_entropy, block_distillation, distillation
from leaven.learn.doubly_robust import doubly_robust_loss, doubly_robust_ridge, naive_loss
from leaven.learn.fairness import fairness_loss
from leaven.learn.feature_distance import feature_distance_loss
from leaven.learn.feature_dropout import drop_channels
from leaven.learn.feedback import FeedbackBaseline, exact_feedback, feedback_loss
from leaven.learn.first_features import masked_feature_distance, patch_classes
from leaven.learn.generalised_cross_entropy import generalised_cross_entropy
from leaven.learn.graph import graph_contrastive_loss, label_graph
from leaven.learn.information import information_loss
from leaven.learn.instance_contrast import instance_contrast
from leaven.learn.kept_pixel_losses import kept_pixel_cross_entropy, symmetric_pixel_cross_entropy
from leaven.learn.logit_adjustment import adjust_logits
from leaven.learn.losses import cross_entropy, entropy, instance_similarity_loss, mean_prior
from leaven.learn.mask_matching import mask_matching_cost, one_to_one
from leaven.learn.masked_losses import (
    MaskedLoss,
    masked_cross_entropy,
    masked_dice,
    masked_dice_by_sample,
    masked_loss,
    masked_loss_by_sample,
)
from leaven.learn.mislabelling import mislabelling_matrix, noisy_logits
from leaven.learn.mixup import mixed, mixed_cross_entropy, mixup
from leaven.learn.multiple_choice import (
    HeadBalance,
    choose_heads,
    confident_heads_loss,
    head_losses,
    multiple_choice_loss,
    uniform_divergence,
)
from leaven.learn.mutual import mutual_loss
from leaven.learn.pacing import TeacherPacing
from leaven.learn.pixel_consistency import (
    pixel_divergence,
    pixel_mean_squared,
    standardised,
    standardised_pair_loss,
)
from leaven.learn.pixel_contrast import class_contrast, draw_anchors
from leaven.learn.pixel_losses import hard_pixel_cross_entropy, pixel_cross_entropy
from leaven.learn.proximal import proximal
from leaven.learn.ramps import cosine_ramp, linear_ramp, sigmoid_ramp
from leaven.learn.region_losses import region_cross_entropy
from leaven.learn.rotation import all_turns, one_turn
from leaven.learn.tags import tag_loss
from leaven.learn.tail_features import (
    balanced_tail_features,
    enhance_tail,
    imprinted_weights,
    tail_probability,
)
from leaven.learn.transfer import smoothed_prior, transfer_loss, transfer_strength, transfer_targets
from leaven.learn.virtual_adversarial import (
    adversarial_change,
    adversarial_direction,
    stronger_sign,
)

__all__ = [
    "BalancedItems",
    "FeedbackBaseline",
    "HeadBalance",
    "MaskedLoss",
    "TeacherPacing",
    "adjust_logits",
    "adversarial_change",
    "adversarial_direction",
    "agreement_divergence",
    "all_turns",
    "annealed_cross_entropy",
    "balanced_tail_features",
    "batch_box",
    "block_cross_entropy",
    "block_distillation",
    "choose_heads",
    "class_contrast",
    "class_set_cross_entropy",
    "class_weights",
    "classmix_mask",
    "confident_heads_loss",
    "cosine_ramp",
    "critic_loss",
    "cross_entropy",
    "deception_loss",
    "discriminator_loss",
    "distillation",
    "divergence",
    "doubly_robust_loss",
    "doubly_robust_ridge",
    "draw_anchors",
    "drop_channels",
    "effective_weights",
    "enhance_tail",
    "entropy",
    "exact_feedback",
    "fairness_loss",
    "feature_distance_loss",
    "feedback_loss",
    "generalised_cross_entropy",
    "gradient_penalty",
    "graph_contrastive_loss",
    "half_rectangle",
    "hard_pixel_cross_entropy",
    "head_losses",
    "imprinted_weights",
    "information_loss",
    "instance_contrast",
    "instance_similarity_loss",
    "judging",
    "kept_pixel_cross_entropy",
    "label_graph",
    "linear_ramp",
    "mask_matching_cost",
    "masked_cross_entropy",
    "masked_dice",
    "masked_dice_by_sample",
    "masked_feature_distance",
    "masked_loss",
    "masked_loss_by_sample",
    "mean_prior",
    "mean_squared_consistency",
    "mislabelling_matrix",
    "mix",
    "mixed",
    "mixed_cross_entropy",
    "mixup",
    "multiple_choice_loss",
    "mutual_loss",
    "naive_loss",
    "noisy_logits",
    "one_rectangle",
    "one_to_one",
    "one_turn",
    "patch_classes",
    "pixel_cross_entropy",
    "pixel_divergence",
    "pixel_mean_squared",
    "prototype_loss",
    "proximal",
    "realism_loss",
    "region_cross_entropy",
    "release_limit",
    "sigmoid_ramp",
    "smoothed_prior",
    "standardised",
    "standardised_pair_loss",
    "stronger_sign",
    "symmetric_pixel_cross_entropy",
    "tag_loss",
    "tail_probability",
    "transfer_loss",
    "transfer_strength",
    "transfer_targets",
    "uniform_divergence",
    "xor_rectangles",
]
