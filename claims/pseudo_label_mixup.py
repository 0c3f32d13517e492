"""Pseudo-labels without confirmation bias, on small CIFAR-10 pictures."""

from claims.harness import Claim, Gain, On
from claims.sources import cifar10, only_labelled
from leaven.methods.classification.pseudo_label_mixup import PseudoLabelMixup
from leaven.train import Budget

FULL = PseudoLabelMixup(warmup=0.4)

CLAIM = Claim(
    method="pseudo-label-mixup",
    statement="With mixup and a minimum of labelled pictures per batch, soft labels of oneself help; "
    "without them the network confirms its own mistakes.",
    setting="CIFAR-10 at 16x16, 10,000 unlabelled pictures, 50 labels per class, 2,000 test "
    "pictures, cnn-small of width 20, 1,500 steps of 100 pictures, warm-up 40 % of them",
    data=cifar10(50, items=10_500, side=16),
    variants={
        "labels only": On(FULL, only_labelled),
        "naive": FULL.model_copy(update={"mixup": False, "min_labelled": 0}),
        "full": FULL,
    },
    expect=(
        Gain("full", "labels only", 2.0),
        Gain("full", "naive", 2.0),
        Gain("naive", "full", 10.0, metric="confidence_when_wrong"),
    ),
    budget=Budget(steps=1500),
    model="cnn-small",
    options={"width": 20},
)
