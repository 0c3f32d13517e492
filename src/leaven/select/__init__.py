"""How far each proposal is trusted: a weight in [0, 1]."""

from leaven.select.accepted_counts import Rows
from leaven.select.adaptive import AdaptiveThresholds, relative_threshold
from leaven.select.aligning_weights import power_weight
from leaven.select.box_jitter import box_spread, jittered_boxes
from leaven.select.class_balance import keep_mask, keep_probability
from leaven.select.class_mass import ClassMass
from leaven.select.clean_probability import clean_probability
from leaven.select.confident_share import confident_share
from leaven.select.curriculum import CurriculumThresholds
from leaven.select.dash import LossThreshold
from leaven.select.entropy_percentile import keep_certain
from leaven.select.equal_share import EqualShare, equal_share_thresholds, over_thresholds
from leaven.select.expertise import Chosen, choose_expert, expertise
from leaven.select.gaussian import GaussianWeight
from leaven.select.gmm_threshold import MixtureThresholds, two_gaussians_threshold
from leaven.select.guarantee import (
    Promise,
    needed_labels,
    promise_each_class,
    promise_items,
)
from leaven.select.guarantee_pictures import (
    promise_each_tag,
    promise_pixels,
    promise_rows,
    promise_tags,
)
from leaven.select.learn_then_test import (
    bonferroni,
    fixed_sequences,
    sequence_starts,
    thresholds_of,
)
from leaven.select.mean_confidence import mean_confidence_threshold
from leaven.select.moving_threshold import MovingThreshold
from leaven.select.new_classes import NewClassBoxes, new_class_boxes, with_new_classes
from leaven.select.pixel_entropy import pixel_entropy
from leaven.select.policies import (
    entropy_threshold,
    mean_threshold,
    most_confident,
    quantile_curriculum,
    random_subset,
    top_per_class,
)
from leaven.select.rank_window import class_ranks, negative_classes
from leaven.select.rebalance import rebalanced_selection, rebalancing_rates
from leaven.select.relative_to_best import near_best_of_class
from leaven.select.reward import ClassRows, RewardModel, ValueRows, above_mean
from leaven.select.risk_bounds import (
    betting_bound,
    betting_p_value,
    binomial_p_value,
    clopper_pearson,
    conformal_risk,
    hoeffding_bentkus_p_value,
)
from leaven.select.score_mass import within_score_mass
from leaven.select.share import RunningShare
from leaven.select.small_loss import small_loss
from leaven.select.spectral import residual_variance, spectral_groups, spectral_weight
from leaven.select.stability import prediction_stability
from leaven.select.thresholds import (
    fixed_threshold,
    percentile_schedule,
    percentile_threshold,
    top_percentile,
)
from leaven.select.transductive import (
    conditional_error,
    joint_error_bound,
    transductive_selection,
    transductive_thresholds,
)
from leaven.select.votes import cast_votes, find_specialities

__all__ = [
    "AdaptiveThresholds",
    "Chosen",
    "ClassMass",
    "ClassRows",
    "CurriculumThresholds",
    "EqualShare",
    "GaussianWeight",
    "LossThreshold",
    "MixtureThresholds",
    "MovingThreshold",
    "NewClassBoxes",
    "Promise",
    "RewardModel",
    "Rows",
    "RunningShare",
    "ValueRows",
    "above_mean",
    "betting_bound",
    "betting_p_value",
    "binomial_p_value",
    "bonferroni",
    "box_spread",
    "cast_votes",
    "choose_expert",
    "class_ranks",
    "clean_probability",
    "clopper_pearson",
    "conditional_error",
    "confident_share",
    "conformal_risk",
    "entropy_threshold",
    "equal_share_thresholds",
    "expertise",
    "find_specialities",
    "fixed_sequences",
    "fixed_threshold",
    "hoeffding_bentkus_p_value",
    "jittered_boxes",
    "joint_error_bound",
    "keep_certain",
    "keep_mask",
    "keep_probability",
    "mean_confidence_threshold",
    "mean_threshold",
    "most_confident",
    "near_best_of_class",
    "needed_labels",
    "negative_classes",
    "new_class_boxes",
    "over_thresholds",
    "percentile_schedule",
    "percentile_threshold",
    "pixel_entropy",
    "power_weight",
    "prediction_stability",
    "promise_each_class",
    "promise_each_tag",
    "promise_items",
    "promise_pixels",
    "promise_rows",
    "promise_tags",
    "quantile_curriculum",
    "random_subset",
    "rebalanced_selection",
    "rebalancing_rates",
    "relative_threshold",
    "residual_variance",
    "sequence_starts",
    "small_loss",
    "spectral_groups",
    "spectral_weight",
    "thresholds_of",
    "top_per_class",
    "top_percentile",
    "transductive_selection",
    "transductive_thresholds",
    "two_gaussians_threshold",
    "with_new_classes",
    "within_score_mass",
]
