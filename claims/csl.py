"""CSL on street photos: a split of each picture's pixels against one threshold, covers on and off."""

from claims.harness import Also, Claim, Gain, Level
from claims.pixel_trust import against_surest, pixels_of
from claims.street_photos import ON_STREET, PLAIN, TEXT
from leaven.methods import Fitted
from leaven.methods.segmentation.csl import CSL
from leaven.select import spectral_weight
from leaven.train import PixelTrainer


def trust(trainer: PixelTrainer, fitted: Fitted) -> dict[str, float]:
    """CSL's trusted pixels against as many of the highest confidence."""
    return against_surest(pixels_of(trainer, fitted, spectral_weight))


CLAIM = Claim(
    method="csl",
    statement="Trust by a split of each picture's pixels is more often right than as much trust by "
    "confidence; the network gains over UniMatch's one threshold, and from covered pixels.",
    setting=TEXT,
    variants={
        **PLAIN,
        "csl": Also(CSL(), trust),
        "csl, no covers": CSL(cover=0.0),
    },
    expect=(
        Level("csl", 0.5, metric="trusted_gain"),
        Gain("csl", "unimatch", 0.5, metric="miou"),
        Gain("csl", "supervised", 2.0, metric="miou"),
        Gain("csl", "csl, no covers", 0.0, metric="miou"),
    ),
    **ON_STREET,
)
