"""Curriculum Labeling with unlabelled pictures of foreign classes."""

from dataclasses import replace

import torch

from claims.curriculum_labeling import PLAIN, STEPS
from claims.harness import Claim, Gain, On
from claims.sources import digits, light
from leaven.data import Data
from leaven.methods.classification.curriculum_labeling import CurriculumLabeling
from leaven.train import Budget

KNOWN = 6


def six_classes(data: Data) -> Data:
    """Labels and test items of the digits 0 to 5 alone; the others stay unlabelled, without truth."""
    train, test = data.train, data.test
    assert test is not None
    known = train.truth < KNOWN
    train = replace(
        train,
        labels=torch.where(known, train.labels, -1),
        truth=torch.where(known, train.truth, -1),
    )
    return replace(
        light(data),
        classes=data.classes[:KNOWN],
        train=train,
        test=test.subset(test.labels < KNOWN),
    )


def clean(data: Data) -> Data:
    """Without the foreign pictures."""
    data = six_classes(data)
    return data.with_train(data.train.subset(data.train.truth >= 0))


ROUNDS, ONE_SHOT = CurriculumLabeling(**PLAIN), CurriculumLabeling(**PLAIN, step=100)

CLAIM = Claim(
    method="curriculum-labeling",
    statement="Unlabelled pictures of foreign classes cost little.",
    setting="digits 0 to 5 with 3 labels per class; the unlabelled pictures are of 0 to 5 (clean) "
    "or of 0 to 9 (foreign); else as curriculum-labeling",
    data=digits(3),
    variants={
        "curriculum, clean": On(ROUNDS, clean),
        "curriculum, foreign": On(ROUNDS, six_classes),
        "one shot, foreign": On(ONE_SHOT, six_classes),
    },
    expect=(
        Gain("curriculum, foreign", "curriculum, clean", -2.0),
        Gain("curriculum, foreign", "one shot, foreign", 0.0),
    ),
    budget={
        "curriculum, clean": Budget(steps=6 * STEPS),
        "curriculum, foreign": Budget(steps=6 * STEPS),
        "one shot, foreign": Budget(steps=2 * STEPS),
    },
    model="cnn-small",
    options={"width": 16},
)
