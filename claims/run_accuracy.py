"""How near the estimated accuracy of a run's labels is, by what it rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from claims.corruptions import corrupted
from claims.harness import Claim, Gain, Level
from claims.second_opinion import enlarged, moved
from leaven.data import Data, ImageSet, MemoryPixels, open_data
from leaven.job.label_accuracy import By, label_accuracy
from leaven.methods import Method
from leaven.methods.classification.fixmatch import FixMatch
from leaven.methods.classification.supervised import Supervised
from leaven.quality import HeldOut
from leaven.train import Budget, Settings, Trainer

LABELS, STEPS = 10, 600
SAME = "as they are"
CHANGES = (
    (SAME, 0), ("heavy noise", 2), ("heavy blur", 3), ("impulse", 3), ("contrast", 4), ("inverted", 1),
    ("edges", 1),
)  # fmt: skip
METHODS: dict[str, Method] = {
    "supervised": Supervised(batch=16, ema=0.99),
    "fixmatch": FixMatch(batch=16, ratio=4, ema=0.99),
}
RESTS: dict[str, By] = {"held out": "held-out", "second opinion": "second-opinion"}

Row = dict[str, float]
"""Of one run: the accuracy, every estimate of it, whether a shift was found, and whether there is."""


@cache
def _digits(seed: int) -> Data:
    """Digits at 28x28, moved a little, with ten labels of each class."""
    data = open_data("digits", seed=seed, labels_per_class=LABELS)
    assert data.test is not None
    generator = torch.Generator().manual_seed(seed)

    def large(images: ImageSet[Tensor]) -> ImageSet[Tensor]:
        return replace(images, pixels=MemoryPixels(moved(enlarged(images), generator)))

    return replace(data, train=large(data.train), test=large(data.test), flip=False)


def data_with(change: str, strength: int, seed: int) -> Data:
    """Digits of which the unlabelled ones are changed."""
    data = _digits(seed)
    if change == SAME:
        return data
    stored = data.train.pixels.batch(torch.arange(len(data.train)))
    hidden = ~data.train.known
    stored[hidden] = corrupted(stored[hidden], change, strength, seed)
    return data.with_train(replace(data.train, pixels=MemoryPixels(stored)))


def one(method: Method, change: str, strength: int, seed: int) -> Row | None:
    """A run, and what is said of its labels; None where it accepts none."""
    data = data_with(change, strength, seed)
    settings = Settings(
        budget=Budget(steps=STEPS), seed=seed, model="cnn-small", options={"width": 18},
        threads=torch.get_num_threads(), evaluations=1, precision="fp32",
    )  # fmt: skip
    trainer = Trainer(data, None, settings)
    fitted = method.fit(trainer.data, trainer)
    assert data.test is not None
    held_out = HeldOut(trainer.predict(fitted.model, data.test), data.test.labels)
    labels, truth = fitted.labels.cpu(), data.unlabelled.truth
    if (right := labels.accuracy(truth)) is None:
        return None
    row = {"true": right, "confidence": float(labels.confidence[labels.accepted].mean())}
    row["same"] = float(change == SAME)
    for name, by in RESTS.items():
        found = label_accuracy(fitted.model, labels, trainer.data, settings, held_out, by)
        assert found.accuracy is not None
        assert found.shift is not None
        row[name] = found.accuracy
        row["distance"], row["shift"] = found.shift.distance, float(found.shift.found)
    row["auto"] = row["second opinion" if row["shift"] else "held out"]
    return row


@cache
def measured(seed: int) -> tuple[Row, ...]:
    """All runs of a seed."""
    found = (
        one(method, change, strength, seed)
        for method in METHODS.values()
        for change, strength in CHANGES
    )
    return tuple(row for row in found if row is not None)


def figures(estimate: str) -> Callable[[int], dict[str, float]]:
    """A function seed -> how near one estimate comes."""

    def work(seed: int) -> dict[str, float]:
        rows = measured(seed)

        def error(some: list[Row]) -> float:
            return sum(abs(row[estimate] - row["true"]) for row in some) / len(some)

        same, others = ([row for row in rows if row["same"] == kind] for kind in (1, 0))
        told = sum(row["shift"] == 1 - row["same"] for row in rows) / len(rows)
        values = {"error_same": error(same), "error_shifted": error(others)}
        values["error"] = (values["error_same"] + values["error_shifted"]) / 2
        near = {name.replace("error", "nearness"): 1 - value for name, value in values.items()}
        return {**values, **near, "told": told}

    return work


CLAIM = Claim(
    method="second-opinion",
    statement="Where the unlabelled pictures of a run are of another kind than the held-out ones, the run "
    "finds it out, and its estimate of the accuracy of its labels by a second opinion comes nearer than "
    "one by the held-out pictures; else these come nearer.",
    setting=f"Digits at 28x28, {LABELS} labels per class, {STEPS} steps of 16 labelled pictures, supervised "
    "and FixMatch (4 unlabelled ones for each labelled one); the unlabelled pictures as they are, or in "
    "noise (strength 2 of 5), blur (3), salt and pepper (3), less contrast (4), inverted, as edges; the "
    "held-out ones as they are. Errors are mean absolute ones in points of accuracy of the accepted "
    "labels: same, of unchanged pictures; shifted, of changed ones; error, the mean of both; nearness is "
    "1 less the error; told, the share of runs in which a shift is found where there is one, and none "
    "where there is none. Runs that accept no label are left out",
    variants={name: figures(name) for name in ("confidence", "held out", "second opinion", "auto")},
    expect=(
        Gain("auto", "held out", 10.0, "nearness_shifted"),
        Gain("auto", "second opinion", 0.0, "nearness_same"),
        Gain("auto", "confidence", 10.0, "nearness"),
        Level("auto", 90.0, "told"),
    ),
    note="The level and the distance from which on a shift counts were set before anything was measured; "
    "the seed 10 was looked at, supervised in six of the settings and FixMatch in three. "
    "The share told was recorded as one less itself by a slip of the code and turned back in the "
    "results; nothing was measured anew.",
    metric="nearness",
)
