"""How good made pictures are, and what it costs to learn to make them."""

from leaven.quality.generation.conditional import (
    ConditionalAccuracy,
    agreement,
    conditional_accuracy,
)
from leaven.quality.generation.cost import (
    PIXART_ALPHA,
    V100_PER_A100,
    PublishedStage,
    TrainingStage,
    cost_table,
    gpu_days,
    published_days,
)
from leaven.quality.generation.features import picture_features
from leaven.quality.generation.figures import FEWEST, picture_figures
from leaven.quality.generation.kernel_distance import (
    KernelDistance,
    kernel_distance,
    squared_discrepancy,
)
from leaven.quality.generation.moments import Moments, frechet_distance, moments
from leaven.quality.generation.neighbourhoods import Coverage, neighbourhood_scores, radii

__all__ = [
    "FEWEST",
    "PIXART_ALPHA",
    "V100_PER_A100",
    "ConditionalAccuracy",
    "Coverage",
    "KernelDistance",
    "Moments",
    "PublishedStage",
    "TrainingStage",
    "agreement",
    "conditional_accuracy",
    "cost_table",
    "frechet_distance",
    "gpu_days",
    "kernel_distance",
    "moments",
    "neighbourhood_scores",
    "picture_features",
    "picture_figures",
    "published_days",
    "radii",
    "squared_discrepancy",
]
