"""SimMatch on CIFAR-10 with 25 labels per class, where classes are learnt well enough to be refined."""

from dataclasses import replace

from claims import simmatch_cifar
from claims.sources import cifar10
from leaven.train import Budget

CLAIM = replace(
    simmatch_cifar.CLAIM,
    setting="as simmatch-cifar, with 25 labels per class and 1,500 steps",
    data=cifar10(25, items=8000, side=16),
    budget=Budget(steps=1500),
)
