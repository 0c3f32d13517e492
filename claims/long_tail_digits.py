"""As long-tail, on the digits: FixMatch labels most pictures right, and the tail is short."""

from dataclasses import replace

from claims import long_tail
from claims.sources import long_tailed_digits
from leaven.train import Budget

CLAIM = replace(
    long_tail.CLAIM,
    setting="scikit-learn digits as a long tail: 40 to 2 labels and 80 to 4 unlabelled pictures "
    "per class; cnn-small of width 16, 600 steps of 16 labelled and 64 unlabelled pictures; "
    f"{long_tail.COSSL}",
    data=long_tailed_digits(40, 20, unlabelled_head=80),
    budget=Budget(steps=600),
)
