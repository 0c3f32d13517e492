"""DASO against FixMatch with more labels, pictures and steps than in long-tail."""

from dataclasses import replace

from claims import long_tail
from claims.harness import Gain
from claims.sources import long_tailed_cifar10
from leaven.methods import Method
from leaven.methods.classification.daso import DASO
from leaven.methods.classification.fixmatch import FixMatch
from leaven.train import Budget

STEPS = 3000

LOWER = {"threshold": 0.7, **long_tail.SAME}
"""A threshold that blends of two opinions reach in a short run."""


def expected(points: float, which: str = "") -> tuple[Gain, ...]:
    return (
        Gain(f"daso{which}", f"fixmatch{which}", points, metric="balanced_accuracy"),
        Gain(f"daso{which}", f"fixmatch{which}", 5.0, metric="label_recall_rarest"),
    )


def variants(frequency_temperature: float) -> dict[str, Method]:
    every = long_tail.variants(frequency_temperature)
    return {name: every[name] for name in ("supervised", "fixmatch", "daso")}


CLAIM = replace(
    long_tail.CLAIM,
    statement="DASO gains over FixMatch on a longer run with more pictures, where both sets are a "
    "long tail.",
    setting="CIFAR-10 at 16x16, in place of Fashion-MNIST, as a long tail: 200 to 10 labels and "
    "2,000 to 100 unlabelled pictures per class, equally many of each class to test; cnn-small of "
    f"width 16, {STEPS} steps of 16 labelled and 64 unlabelled pictures, the first 300 those of "
    "FixMatch; label recall is that of the labels of the final network for all unlabelled pictures "
    "of the 3 classes with the fewest labels, not of the blended labels that DASO teaches itself; these were "
    "measured on digits on photos alone (long_tail_photo_digits)",
    data=long_tailed_cifar10(200, 20, unlabelled_head=2000, side=16),
    variants={
        **variants(1.5),
        "fixmatch, 0.7": FixMatch(**LOWER),
        "daso, 0.7": DASO(frequency_temperature=1.5, temperature=0.02, **LOWER),
    },
    expect=(*expected(1.0), *expected(1.0, ", 0.7")),
    note="0.7: a threshold of 0.7 in place of 0.95, and in DASO 0.02 in place of 0.05 as the temperature of "
    "similarities. Why DASO does not gain with its own numbers: in so short a run its prototypes are never sure, and "
    "its labels are blends with what they say. On seed 10, in the last 900 steps, none of these blends reached "
    "0.95, where the head alone did so of 33 % of pictures; so nearly nothing but its alignment was learnt. Prototypes do know more of "
    "the three rarest classes (recall 18, 16 and 10 %; the head 13, 5 and 4). The other numbers were chosen on seed 10 alone, in two steps: "
    "the temperature alone 35.8 % (DASO as it is 35.8, FixMatch 34.7), both 40.3 (FixMatch at 0.7 36.6). They gain "
    "less on the seeds of the claim, so the threshold is a part of the reason at most. With their own numbers two more seeds were run (3 and 4): over five "
    "DASO has 39.1 %, FixMatch 38.8.",
    budget=Budget(steps=STEPS),
)
