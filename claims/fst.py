"""FST from day to dusk: against its host, and against its host with as many gradients."""

from collections.abc import Callable, Iterable
from typing import Any

from claims.curves import with_curves
from claims.harness import Claim, Gain, Work
from claims.street_photos import DUSK, SAME, settings
from leaven.data import Data
from leaven.methods.segmentation.dacs import DACS
from leaven.methods.segmentation.fst import FSTDeep, FSTWide
from leaven.methods.segmentation.supervised import Supervised
from leaven.train import Budget, Settings

STEPS = 250
LONG = "dacs, 4 times the steps"
AHEAD: dict[str, Any] = {"base": "dacs", "counted": "passes", "ema": 0.99}


def on_the_way(
    data: Callable[[int], Data[Any]], settings: Callable[[int], Settings], steps: int
) -> dict[str, Work]:
    """The variants, with the accuracy of the pseudo-labels that their real steps learn from."""
    long = 4 * steps
    named = ("label_accuracy",)
    return {
        "source only": with_curves(Supervised(), data, settings(steps), ()),
        "dacs": with_curves(DACS(), data, settings(steps), named),
        LONG: with_curves(DACS(), data, settings(long), named),
        "fst": with_curves(FSTDeep(**AHEAD, closing=False), data, settings(steps), named),
        "fst-wide": with_curves(FSTWide(**AHEAD), data, settings(steps), named),
    }


def budgets(variants: Iterable[str], steps: int) -> dict[str, Budget]:
    return {name: Budget(steps=4 * steps if name == LONG else steps) for name in variants}


VARIANTS = on_the_way(DUSK, settings, STEPS)
EXPECT = (
    Gain("dacs", "source only", 2.0, "miou"),
    Gain("fst", "dacs", 0.5, "miou"),
    Gain("fst", LONG, -0.3, "miou"),
    Gain("fst", "dacs", 0.0, "label_accuracy_last"),
)

CLAIM = Claim(
    method="fst",
    statement="A teacher that sees the future of its student labels better, and the student gains.",
    setting="CamVid at 72x96, 305 day photos (0016E5, 0006R0) labelled, 62 of dusk (0001TP) without "
    "labels, tested on 62 others of dusk; deeplab-small from random weights, bf16, DACS as the host, "
    "250 real steps of 4 and 4 photos: 1000 gradients of FST and of the long baseline; the source alone "
    "predicts with averaged weights, all others with the student's last ones",
    variants=VARIANTS,
    expect=EXPECT,
    budget=budgets(VARIANTS, STEPS),
    **SAME,
)
