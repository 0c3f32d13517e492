"""As long-tail-more, where the classes with the fewest labels have the most unlabelled pictures."""

from dataclasses import replace

from claims import long_tail_more, long_tail_reversed
from claims.harness import Gain
from claims.long_tail import SAME
from leaven.methods.classification.darp import DARP

CLAIM = replace(
    long_tail_more.CLAIM,
    statement="DARP with an estimated spread, SAW, TRAS and Adsh gain over FixMatch where the "
    "unlabelled tail is the labelled head.",
    setting=f"{long_tail_more.CLAIM.setting}; unlabelled pictures per class reversed, 40 to 800; "
    "darp-estimated finds the spread as a mean of 20 estimates (by default 200)",
    data=long_tail_reversed.CLAIM.data,
    variants={
        **long_tail_more.CLAIM.variants,
        "darp-estimated": DARP(distribution="estimated", estimates=20, **SAME),
    },
    expect=tuple(
        Gain(name, "fixmatch", 1.0, metric="balanced_accuracy")
        for name in ("darp-estimated", "saw", "tras", "adsh")
    ),
)
