"""Digits: labels spent on what `leaven suggest` names, and labels spent at random."""

from __future__ import annotations

from claims.harness import Claim, Gain, NearBest
from claims.label_rounds import COMPARED, Rounds, labels_spent
from claims.sources import digits
from leaven.methods import find_method

ROUNDS = Rounds(
    data=digits(1),
    method=find_method("supervised", "classification")(batch=16, ema=0.98),
    totals=(20, 30, 40, 50, 60),
    model="cnn-small",
    steps=150,
    levels=(0.8, 0.85, 0.9),
)

CLAIM = Claim(
    method="suggest",
    statement=(
        "Labels spent on the digits that leaven suggests teach more than as many spent at random."
    ),
    setting=(
        "digits, one label per class at the start, then ten bought in each of five rounds up to 60; "
        "cnn-small trained anew for 150 steps in each round on the labels alone; accuracy is the "
        "mean of the test accuracies after 20, 30, 40, 50 and 60 labels (the area under the curve), "
        "labels_for_90 the labels that 90 % takes"
    ),
    variants={name: labels_spent(ROUNDS, name) for name in COMPARED},
    expect=(
        Gain("auto", "random", 2.0),
        Gain("auto", "margin", 1.0),
        NearBest("auto", 1.0),
    ),
    seeds=(0, 1, 2, 3, 4),
    note="auto was chosen on the seeds 10 and 11.",
)
