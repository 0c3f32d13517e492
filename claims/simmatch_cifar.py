"""SimMatch against FixMatch with alignment (the same code, without the instances), on CIFAR-10."""

from dataclasses import replace

from claims import simmatch_digits
from claims.sources import cifar10
from leaven.train import Budget

CLAIM = replace(
    simmatch_digits.CLAIM,
    setting="CIFAR-10 at 16x16, 8,000 training pictures with 4 labels per class, 2,000 test "
    "pictures, cnn-small of width 20, 3,000 steps of 16 labelled and 64 unlabelled pictures",
    data=cifar10(4, items=8000, side=16),
    variants={
        name: method.model_copy(update={"ema": 0.995})
        for name, method in simmatch_digits.CLAIM.variants.items()
    },
    budget=Budget(steps=3000),
    options={"width": 20},
    seeds=(0, 1, 2),
)
