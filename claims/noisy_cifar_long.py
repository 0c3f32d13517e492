"""As ``noisy_cifar``, with fewer pictures and more epochs: time enough to learn wrong labels by heart.

Warm-up (divide-mix) and the rise of the forget rate (co-teaching) take the papers' 10 epochs.
"""

from dataclasses import replace

from claims import noisy_cifar
from claims.noisy_cifar import OF_PEOPLE, SHARED
from claims.sources import cifar10_of_people
from leaven.methods.classification.co_teaching import CoTeaching
from leaven.methods.classification.divide_mix import DivideMix
from leaven.train import Budget

STEPS = {"supervised": 1600, "co-teaching": 1600, "divide-mix": 2400, "rdcr": 1600}

CLAIM = replace(
    noisy_cifar.CLAIM,
    setting="CIFAR-10 at 16x16, 2,000 pictures with the labels of CIFAR-10N worse (40 % wrong by "
    "people), 2,000 test pictures with true labels, cnn-small of width 16, 1,600 steps of 32 "
    "pictures (26 epochs; divide-mix: 1,200 of each network), the last weights, no clean "
    "validation. Co-teaching is told the share of wrong labels, 0.4",
    data=cifar10_of_people("human_worse", items=2000, side=16),
    variants={
        **noisy_cifar.CLAIM.variants,
        "co-teaching": CoTeaching(forget_rate=0.4, gradual=0.4, **SHARED),
        "divide-mix": DivideMix(warmup=0.25, **OF_PEOPLE, **SHARED),
    },
    budget={name: Budget(steps=steps) for name, steps in STEPS.items()},
    note="DivideMix was measured with lambda_u = 25, the default of its code, at first: 44.7 %. "
    f"{noisy_cifar.CAUSE}",
)
