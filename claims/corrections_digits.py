"""Digits: the forty most doubtful labels of a run corrected, against forty at random."""

from __future__ import annotations

from typing import Any

from claims.correction_rounds import at_random, corrected, doubtful, first_round, uncorrected
from claims.harness import Claim, Gain

STEPS, COUNT = 300, 40


def options(budget: int) -> dict[str, Any]:
    return {
        "labels_per_class": 4,
        "method": "fixmatch",
        "set": {"batch": 16, "ratio": 4, "ema": 0.99},
        "model": "cnn-small",
        "options": {"width": 16},
        "budget": budget,
    }


FIRST = first_round(lambda seed: options(STEPS))
LONGER = first_round(lambda seed: options(2 * STEPS))

CLAIM = Claim(
    method="corrections",
    statement=(
        "Correcting the most doubtful labels of a run makes the next round better, more than "
        "correcting as many at random and more than training as long without."
    ),
    setting=(
        "scikit-learn digits, 4 labels per class, FixMatch with cnn-small of width 16, 300 steps of "
        "16 labelled and 64 unlabelled pictures; then the truth of 40 of the 1217 labels is told, "
        "the least confident ones or some at random, and a round of 300 steps goes on with them "
        "(`leaven run --resume --with-corrections`)"
    ),
    variants={
        "before": uncorrected(FIRST),
        "600 steps": uncorrected(LONGER),
        "40 at random": corrected(FIRST, at_random, COUNT),
        "40 most doubtful": corrected(FIRST, doubtful, COUNT),
    },
    expect=(
        Gain("40 most doubtful", "before", 3.0),
        Gain("40 most doubtful", "600 steps", 1.0),
        Gain("40 most doubtful", "40 at random", 0.5),
    ),
    note="The setting was chosen on the seeds 10 and 11.",
)
