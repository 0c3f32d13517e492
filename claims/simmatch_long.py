"""SimMatch with a longer run: the memory has more time to say something."""

from dataclasses import replace

from claims import simmatch_digits
from leaven.train import Budget

CLAIM = replace(
    simmatch_digits.CLAIM,
    setting="as simmatch-digits, with 1,500 steps",
    budget=Budget(steps=1500),
)
