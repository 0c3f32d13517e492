"""DASO against FixMatch with more labels, pictures and steps than in long-tail."""

from dataclasses import replace

from claims import long_tail
from claims.harness import Gain
from claims.sources import long_tailed_cifar10
from leaven.methods import Method
from leaven.train import Budget

STEPS = 3000


def expected(points: float) -> tuple[Gain, ...]:
    return (
        Gain("daso", "fixmatch", points, metric="balanced_accuracy"),
        Gain("daso", "fixmatch", 5.0, metric="label_recall_rarest"),
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
    "of the 3 classes with the fewest labels; 5 seeds, fixed before the first run",
    data=long_tailed_cifar10(200, 20, unlabelled_head=2000, side=16),
    variants=variants(1.5),
    expect=expected(1.0),
    budget=Budget(steps=STEPS),
    seeds=(0, 1, 2, 3, 4),
)
