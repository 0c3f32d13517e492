"""CIFAR-10: the fifty most doubtful labels of a run corrected, against fifty at random."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from claims.correction_rounds import at_random, corrected, doubtful, first_round, uncorrected
from claims.harness import Claim, Gain
from claims.sources import folder

STEPS, COUNT = 200, 50
ITEMS = {"train": 3000, "test": 1000}


@cache
def _some() -> TemporaryDirectory[str]:
    """The first photos of each split."""
    import pyarrow.parquet as pq

    kept = TemporaryDirectory()
    for split, count in ITEMS.items():
        photos = pq.read_table(folder("cifar10") / f"{split}.parquet", columns=["image", "label"])
        pq.write_table(photos.slice(0, count), Path(kept.name) / f"{split}.parquet")
    return kept


def options(budget: int) -> dict[str, Any]:
    return {
        "data": _some().name,
        "labels_per_class": 10,
        "image_size": 16,
        "method": "fixmatch",
        "set": {"batch": 16, "ratio": 4, "ema": 0.99, "threshold": 0.8},
        "model": "cnn-small",
        "options": {"width": 16},
        "budget": budget,
    }


FIRST = first_round(lambda seed: options(STEPS))
LONGER = first_round(lambda seed: options(2 * STEPS))

CLAIM = Claim(
    method="corrections",
    statement=(
        "Correcting fifty labels of a run makes the next round better, more than training as long "
        "without."
    ),
    setting=(
        "CIFAR-10, 3000 photos at 16x16, 10 labels per class, FixMatch with cnn-small of width 16 "
        "and a threshold of 0.8, 200 steps of 16 labelled and 64 unlabelled photos; then the truth "
        "of 50 labels is told, the least confident ones or some at random, and a round of 200 steps "
        "goes on with them (`leaven run --resume --with-corrections`); 1000 test photos"
    ),
    variants={
        "before": uncorrected(FIRST),
        "400 steps": uncorrected(LONGER),
        "50 at random": corrected(FIRST, at_random, COUNT),
        "50 most doubtful": corrected(FIRST, doubtful, COUNT),
    },
    expect=(
        Gain("50 most doubtful", "before", 2.0),
        Gain("50 most doubtful", "400 steps", 0.5),
        Gain("50 most doubtful", "50 at random", -1.0),
    ),
    note="The setting was chosen on the seeds 10 and 11.",
)
