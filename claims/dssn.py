"""DSSN on street photos: the pair losses, and trust relative to the best pixel of each class."""

from claims.harness import Also, Claim, Gain, Level
from claims.pixel_trust import against_threshold, pixels_of, rare_iou
from claims.street_photos import ON_STREET, PLAIN, TEXT
from leaven.methods import Fitted
from leaven.methods.segmentation.dssn import DSSN
from leaven.select import near_best_of_class
from leaven.train import PixelTrainer


def rare(trainer: PixelTrainer, fitted: Fitted) -> dict[str, float]:
    """What the rule keeps of rare classes against a threshold of 0.95, and their IoU."""
    kept = against_threshold(pixels_of(trainer, fitted, near_best_of_class), 0.95)
    return kept | rare_iou(trainer, fitted)


CLAIM = Claim(
    method="dssn",
    statement="Pairs of strong views help, and trust relative to the best pixel of each class keeps "
    "more of the rare classes than one threshold, no less precisely.",
    setting=f"{TEXT}; rare: pole, sign, pedestrian, bicyclist",
    variants={
        **PLAIN,
        "dssn": Also(DSSN(), rare),
        "dssn, no pair loss": Also(DSSN(pair_weight=0.0), rare_iou),
    },
    expect=(
        Gain("dssn", "supervised", 2.0, metric="miou"),
        Gain("dssn", "dssn, no pair loss", 0.2, metric="miou"),
        Level("dssn", 0.1, metric="rare_covered_gain"),
        Level("dssn", 0.0, metric="rare_precision_gain"),
    ),
    **ON_STREET,
)
