"""SimMatch against FixMatch with alignment (the same code, without the instances), on CIFAR-10."""

from claims.harness import Claim, Gain
from claims.sources import cifar10
from leaven.methods.classification.simmatch import SimMatch
from leaven.train import Budget

METHOD = SimMatch(batch=16, ratio=4, ema=0.995)

CLAIM = Claim(
    method="simmatch",
    statement="Labels over classes and over labelled items correct each other.",
    setting="CIFAR-10 at 16x16, 8,000 training pictures with 4 labels per class, 2,000 test "
    "pictures, cnn-small of width 20, 3,000 steps of 16 labelled and 64 unlabelled pictures",
    data=cifar10(4, items=8000, side=16),
    variants={
        "fixmatch with alignment": METHOD.model_copy(update={"alpha": 1.0, "instance_weight": 0.0}),
        "simmatch": METHOD,
    },
    expect=(
        Gain("simmatch", "fixmatch with alignment", 1.5),
        Gain("simmatch", "fixmatch with alignment", 2.0, metric="all_labels_accuracy"),
    ),
    budget=Budget(steps=3000),
    model="cnn-small",
    options={"width": 20},
)
