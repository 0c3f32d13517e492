"""SimMatch against FixMatch with alignment (the same code, without the instances), on the digits."""

from claims.harness import Claim, Gain
from claims.sources import digits
from leaven.methods.classification.simmatch import SimMatch
from leaven.train import Budget

METHOD = SimMatch(batch=16, ratio=4, ema=0.99)

CLAIM = Claim(
    method="simmatch",
    statement="Labels over classes and over labelled items correct each other.",
    setting="scikit-learn digits, 4 labels per class, cnn-small of width 16, 600 steps of 16 "
    "labelled and 64 unlabelled pictures",
    data=digits(4),
    variants={
        "fixmatch with alignment": METHOD.model_copy(update={"alpha": 1.0, "instance_weight": 0.0}),
        "simmatch": METHOD,
    },
    expect=(
        Gain("simmatch", "fixmatch with alignment", 1.5),
        Gain("simmatch", "fixmatch with alignment", 2.0, metric="all_labels_accuracy"),
    ),
    budget=Budget(steps=600),
    model="cnn-small",
    options={"width": 16},
    seeds=(0, 1, 2, 3, 4),
)
