"""U2PL on street photos: unreliable pixels as negatives, against none and against reliable ones."""

from __future__ import annotations

from typing import Any

from claims.curves import with_curves
from claims.harness import Claim, Gain, Level, Work
from claims.sources import camvid
from leaven.methods.segmentation.few_maps import FewMaps
from leaven.methods.segmentation.supervised import Supervised
from leaven.methods.segmentation.u2pl import U2PL
from leaven.train import Budget, Settings

STEPS = 500
MODEL = "unet"
OPTIONS: dict[str, Any] = {"widths": [12, 24, 48]}
DATA = camvid(20, size=(96, 128))
SMALL: dict[str, Any] = {
    "width": 64,
    "ranks": (3, 11),
    "queue": 3000,
    "first_queue": None,
    "anchors": 64,
    "negatives": 32,
}


def on_the_way(method: FewMaps, *curves: str) -> Work:
    """The method with curves of its steps."""
    settings = Settings(
        budget=Budget(steps=STEPS),
        model=MODEL,
        options=dict(OPTIONS),
        precision="bf16",
        evaluations=1,
    )
    return with_curves(method, DATA, settings, curves)


CLAIM = Claim(
    method="u2pl",
    statement="Pixels that the teacher is unsure of are good negatives of their unlikely classes.",
    setting="CamVid at 96x128, 20 of 367 maps, U-Net 12-24-48 with 64 numbers per pixel (the sheet: "
    "120x160, 1500 steps), 500 steps of 4 labelled and 4 unlabelled pictures, bf16; ranks 3..10 of "
    "11 classes, queues of 3000, 64 anchors, 32 negatives",
    variants={
        "supervised": Supervised(),
        "no contrast": U2PL(**SMALL, contrast_weight=0.0),
        "reliable negatives": U2PL(**SMALL, negatives_from="reliable"),
        "u2pl": on_the_way(U2PL(**SMALL), "negative_of_truth"),
    },
    expect=(
        Gain("u2pl", "supervised", 2.0, metric="miou"),
        Gain("u2pl", "no contrast", 0.3, metric="miou"),
        Gain("u2pl", "reliable negatives", 0.0, metric="miou"),
        Level("u2pl", 5.0, metric="negative_of_truth_last", at_most=True),
    ),
    data=DATA,
    budget=Budget(steps=STEPS),
    model=MODEL,
    options=OPTIONS,
    precision="bf16",
    metric="miou",
)
