"""CIFAR-10: labels spent on what `leaven suggest` names, and labels spent at random."""

from __future__ import annotations

from functools import cache

from claims.harness import Claim, Gain, NearBest
from claims.label_rounds import COMPARED, Rounds, labels_spent
from claims.patch_features import on_patches
from claims.sources import cifar10
from leaven.data import Data
from leaven.methods import find_method


@cache
def _data(seed: int) -> Data:
    return on_patches(cifar10(1, items=5000, side=16)(seed))


ROUNDS = Rounds(
    data=_data,
    method=find_method("supervised", "classification")(batch=64, ema=0.98),
    totals=(20, 50, 100, 200, 300, 400),
    model="linear",
    steps=150,
    levels=(0.3, 0.35),
)

CLAIM = Claim(
    method="suggest",
    statement=(
        "Labels spent on the photos that leaven suggests teach more than as many spent at random."
    ),
    setting=(
        "CIFAR-10, 5000 photos at 16x16, as 512 features of patches learned by k-means without "
        "labels; one label per class at the start, then bought up to 20, 50, 100, 200, 300 and 400; "
        "logistic regression trained anew for 150 steps in each round; accuracy is the mean of the "
        "test accuracies after each (2000 photos), labels_for_35 the labels that 35 % takes"
    ),
    variants={name: labels_spent(ROUNDS, name) for name in COMPARED},
    expect=(Gain("auto", "random", 1.0), NearBest("auto", 1.0)),
    seeds=(0, 1, 2, 3, 4),
    note="auto was chosen on the seeds 10 and 11.",
)
