"""Which items a person should label next."""

from leaven.quality.acquisition.directions import directions, narrowed, nearest
from leaven.quality.acquisition.disagreement import (
    box_disagreement,
    disagreement,
    pixel_disagreement,
)
from leaven.quality.acquisition.gradient_seeding import gradient_seeding
from leaven.quality.acquisition.k_center import k_center
from leaven.quality.acquisition.label_next import label_next, worth_labelling
from leaven.quality.acquisition.novelty import novel
from leaven.quality.acquisition.pictures import box_uncertainty, per_picture, pixel_mean
from leaven.quality.acquisition.promise_gain import Acceptance, promise_gain
from leaven.quality.acquisition.strategies import (
    AUTO,
    STRATEGIES,
    Pool,
    Strategy,
    choose,
    choose_auto,
    find_strategy,
)
from leaven.quality.acquisition.typical import typical
from leaven.quality.acquisition.uncertainty import (
    UNCERTAINTY,
    entropy,
    least_confidence,
    margin,
)

__all__ = [
    "AUTO",
    "STRATEGIES",
    "UNCERTAINTY",
    "Acceptance",
    "Pool",
    "Strategy",
    "box_disagreement",
    "box_uncertainty",
    "choose",
    "choose_auto",
    "directions",
    "disagreement",
    "entropy",
    "find_strategy",
    "gradient_seeding",
    "k_center",
    "label_next",
    "least_confidence",
    "margin",
    "narrowed",
    "nearest",
    "novel",
    "per_picture",
    "pixel_disagreement",
    "pixel_mean",
    "promise_gain",
    "typical",
    "worth_labelling",
]
