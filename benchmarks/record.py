"""CIFAR-10 with 40 labels against the clock: the accuracy that so many minutes come to.

FixMatch with allocation (as ``auto`` chooses it) trains WRN-28-2 on all 50,000 pictures, 64 labelled
and 448 unlabelled ones a step, and is measured on the 10,000 test pictures with its averaged weights.
Views are made on the device; on a GPU the network computes in bf16 and is compiled. The minutes begin
when the pictures are decoded, and hold the compiling and all measuring; the learning rate falls within
them, so every length is a run of its own.

    python -m benchmarks.record [--minutes 3,6,9] [--seeds 0,1,2] [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from claims.sources import cifar10

from benchmarks.common import save
from leaven.methods.classification.fixmatch import FixMatch
from leaven.train import Budget, Recipe, Settings, Trainer

TARGET = 0.94
METHOD = FixMatch(
    align="allocation",
    threshold=0.8,
    batch=64,
    ratio=7,
    ema=0.999,
    recipe=Recipe(schedule="cosine", warmup=0.02),
)


def one(minutes: float, seed: int, quick: bool) -> dict[str, Any]:
    """A run: its accuracy on the test pictures and what it did in its minutes."""
    gpu = torch.cuda.is_available()
    items, test = (2000, 500) if quick else (50_000, 10_000)
    data = cifar10(4, items=items, test=test)(seed)
    settings = Settings(
        budget=Budget(seconds=60 * minutes),
        seed=seed,
        model="cnn-small" if quick else "wrn-28-2",
        compile=gpu and not quick,
        threads=torch.get_num_threads(),
        evaluations=1,
    )
    began = time.monotonic()
    trainer = Trainer(data, None, settings)
    fitted = METHOD.fit(trainer.data, trainer)
    accuracy = trainer.measure(fitted.model, trainer.data.test)["accuracy"]
    return {
        "accuracy": accuracy,
        "minutes": (time.monotonic() - began) / 60,
        "steps": trainer.step,
        "images_per_second": trainer.images_seen / trainer.seconds,
    }


def main(
    quick: bool = False,
    minutes: tuple[float, ...] | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> dict[str, Any]:
    """Measures every length with every seed, prints and keeps what came of it."""
    minutes = minutes or ((0.1,) if quick else (3.0, 6.0, 9.0))
    rows: dict[str, Any] = {}
    for length in minutes:
        runs = [one(length, seed, quick) for seed in seeds]
        accuracies = [run["accuracy"] for run in runs]
        rows[f"{length:g} minutes"] = {
            "accuracy": statistics.fmean(accuracies),
            "standard_deviation": statistics.stdev(accuracies) if len(runs) > 1 else 0.0,
            "reaches_94": statistics.fmean(accuracies) >= TARGET,
            "runs": dict(zip(map(str, seeds), runs, strict=True)),
        }
        said = ", ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies)
        print(f"{length:g} minutes: {100 * rows[f'{length:g} minutes']['accuracy']:.1f} % ({said})")
        save("record", {"quick": quick, "cases": rows})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", help="lengths, with commas between them")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--quick", action="store_true", help="a small net, 2,000 pictures, seconds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lengths = None if given.minutes is None else tuple(map(float, given.minutes.split(",")))
    main(given.quick, lengths, tuple(map(int, given.seeds.split(","))))
