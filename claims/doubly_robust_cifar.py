"""Doubly robust self-training of a network, against its own first term and plain self-training."""

from claims.harness import Claim, Gain
from claims.sources import cifar10
from leaven.methods.classification.doubly_robust import DoublyRobust
from leaven.methods.classification.supervised import Supervised
from leaven.train import Budget

CLAIM = Claim(
    method="doubly-robust",
    statement="In short training the doubly robust loss beats pseudo-labels alone and labels with "
    "pseudo-labels.",
    setting="CIFAR-10 at 16x16, 50 labels per class of 5,000 pictures, cnn-small of width 16, 400 "
    "steps of 128 pictures, the first 100 for the teacher. Students learn weak views (by default strong "
    "ones) with a label smoothing of 0.1, and their last weights predict; labels alone are learnt without "
    "smoothing, and averaged weights (0.999) predict",
    data=cifar10(50, items=5000, side=16),
    variants={
        "labels alone": Supervised(batch=128, recipe=DoublyRobust().recipe),
        **{
            mode: DoublyRobust(mode=mode, augment="weak")
            for mode in ("pseudo-only", "labelled+pseudo", "doubly-robust")
        },
    },
    expect=(
        Gain("doubly-robust", "labels alone", 0.0),
        Gain("doubly-robust", "pseudo-only", 0.0),
        Gain("doubly-robust", "labelled+pseudo", 0.0),
    ),
    budget=Budget(steps=400),
    model="cnn-small",
    options={"width": 16},
)
