"""Second opinions of the deeper networks: each of them with one pair of corruptions."""

from __future__ import annotations

from collections.abc import Callable

from claims.accuracy_shift import EPOCHS, HELD_OUT, ITEMS, JPEG, measured
from claims.harness import Claim, Gain
from leaven.quality.accuracy import ESTIMATORS

DEPTHS = (32, 44, 56)
"""By seed."""


def figures(estimator: str) -> Callable[[int], dict[str, float]]:
    """A function seed -> how near the estimates of one estimator come."""

    def work(seed: int) -> dict[str, float]:
        depth = DEPTHS[seed % len(DEPTHS)]
        rows = measured(seed, (depth,), depth)[estimator]
        values = {}
        for name, real in (("", False), ("_jpeg", True)):
            errors = [abs(said - true) for kind, _, said, true in rows if (kind == JPEG) == real]
            if errors:
                values[f"error{name}"] = sum(errors) / len(errors)
                values[f"nearness{name}"] = 1 - values[f"error{name}"]
        return values

    return work


CLAIM = Claim(
    method="second-opinion",
    statement="What holds of ResNet-20 holds of deeper networks: estimates that ask an adapted copy "
    "come nearer than those that look at confidence.",
    setting="As the claim accuracy_shift, with an adapted copy of ResNet-32 on noise and blur (seed "
    f"0), of ResNet-44 on contrast and brightness (1) and of ResNet-56 on pixelation and JPEG (2), in "
    f"five strengths; {ITEMS} pictures, {HELD_OUT} labelled others, {EPOCHS} epochs",
    variants={name: figures(name) for name in ESTIMATORS},
    expect=(
        Gain("second-opinion", "confidence", 5.0, "nearness"),
        Gain("second-opinion", "difference", 1.0, "nearness"),
        Gain("second-opinion", "atc-entropy", 1.0, "nearness"),
        Gain("second-opinion", "adapted", 1.0, "nearness"),
    ),
    metric="nearness",
)
