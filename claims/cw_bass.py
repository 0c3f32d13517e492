"""CW-BASS against the labels alone, a fixed threshold, and itself without the loss at borders."""

from typing import Any

from claims.harness import Claim, Gain
from claims.street_photos import ON_STREET, PLAIN, TEXT
from leaven.methods.segmentation.cw_bass import CWBass
from leaven.methods.segmentation.cw_bass_offline import CWBassStages

SAME: dict[str, Any] = {"ema": 0.99}

CLAIM = Claim(
    method="cw-bass",
    statement="Confidence weights and the loss at borders gain over the labels alone, at borders too.",
    setting=f"{TEXT}; borders are 3 pixels to either side; the decay of the teacher is 0.99, which is 0.999 by "
    "default and in the authors' code; CW-BASS predicts with the student's last weights, the labels alone with "
    "averaged ones",
    variants={
        "supervised": PLAIN["supervised"],
        "fixed threshold, no borders": CWBass(**SAME, bounds=(0.6, 0.6), border_weight=0.0),
        "no borders": CWBass(**SAME, border_weight=0.0),
        "cw-bass": CWBass(**SAME),
        "cw-bass-stages": CWBassStages(),
    },
    expect=(
        Gain("cw-bass", "supervised", 1.5, "miou"),
        Gain("cw-bass", "no borders", 0.5, "border_miou"),
        Gain("cw-bass", "no borders", 0.0, "miou"),
    ),
    **ON_STREET,
)
