"""CW-BASS against the labels alone, a fixed threshold, and itself without the loss at borders."""

from typing import Any

from claims.harness import Claim, Gain
from claims.sources import camvid
from leaven.methods.segmentation.cw_bass import CWBass
from leaven.methods.segmentation.cw_bass_offline import CWBassStages
from leaven.methods.segmentation.supervised import Supervised
from leaven.train import Budget

SAME: dict[str, Any] = {"ema": 0.99}

CLAIM = Claim(
    method="cw-bass",
    statement="Confidence weights and the loss at borders gain over the labels alone, at borders too.",
    setting="CamVid at 96x128, 20 of 367 photos labelled, U-Net 12-24-48 from random weights, bf16, "
    "500 steps of 4 labelled and 4 unlabelled photos in all; borders are 3 pixels to either side",
    data=camvid(20, size=(96, 128)),
    variants={
        "supervised": Supervised(**SAME),
        "fixed threshold, no borders": CWBass(**SAME, bounds=(0.6, 0.6), border_weight=0.0),
        "no borders": CWBass(**SAME, border_weight=0.0),
        "cw-bass": CWBass(**SAME),
        "cw-bass-stages": CWBassStages(**SAME),
    },
    expect=(
        Gain("cw-bass", "supervised", 1.5, "miou"),
        Gain("cw-bass", "no borders", 0.5, "border_miou"),
        Gain("cw-bass", "no borders", 0.0, "miou"),
    ),
    budget=Budget(steps=500),
    model="unet",
    options={"widths": [12, 24, 48]},
    precision="bf16",
    metric="miou",
)
