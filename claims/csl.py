"""CSL on street photos: a split of each picture's pixels against one threshold, covers on and off."""

from claims.harness import Also, Claim, Gain, Level
from claims.pixel_trust import against_surest, pixels_of
from claims.sources import camvid
from leaven.methods import Fitted
from leaven.methods.segmentation.csl import CSL
from leaven.methods.segmentation.supervised import Supervised
from leaven.methods.segmentation.unimatch import UniMatch
from leaven.select import spectral_weight
from leaven.train import Budget, PixelTrainer


def trust(trainer: PixelTrainer, fitted: Fitted) -> dict[str, float]:
    """CSL's trusted pixels against as many of the highest confidence."""
    return against_surest(pixels_of(trainer, fitted, spectral_weight))


CLAIM = Claim(
    method="csl",
    statement="Trust by a split of each picture's pixels is more often right than as much trust by "
    "confidence; the network gains over UniMatch's one threshold, and from covered pixels.",
    setting="CamVid at 96x128, 20 of 367 maps, U-Net 16-32-64-96 (the sheet: 120x160, 1500 steps), "
    "500 steps of 4 labelled and 4 unlabelled pictures, bf16",
    data=camvid(20, size=(96, 128)),
    variants={
        "supervised": Supervised(),
        "unimatch": UniMatch(),
        "csl": Also(CSL(), trust),
        "csl, no covers": CSL(cover=0.0),
    },
    expect=(
        Level("csl", 0.5, metric="trusted_gain"),
        Gain("csl", "unimatch", 0.5, metric="miou"),
        Gain("csl", "supervised", 2.0, metric="miou"),
        Gain("csl", "csl, no covers", 0.0, metric="miou"),
    ),
    budget=Budget(steps=500),
    model="unet",
    precision="bf16",
    metric="miou",
)
