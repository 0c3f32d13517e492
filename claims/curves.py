"""What a claim measures of a run on its way, beside its end."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from claims.harness import Measure
from claims.measures import measured
from leaven.data import Data
from leaven.methods import Method
from leaven.train import Settings, trainer_of


def with_curves(
    method: Method, data: Callable[[int], Data[Any]], settings: Settings, names: Sequence[str]
) -> Measure:
    """An experiment: the metrics of ``method``, and ``NAME_first`` and ``NAME_last`` of curves.

    These are the means over the first and over the last fifth of what the journal holds of them;
    ``NAME_rise`` is their difference.
    """

    def run(seed: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            chosen = dataclasses.replace(settings, seed=seed)
            trainer = trainer_of(method.card.task)(data(seed), Path(folder), chosen)
            values = measured(trainer, method.fit(trainer.data, trainer))
            lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        for name in names:
            curve = [row[name] for row in rows if row.get(name) is not None]
            part = max(1, len(curve) // 5)
            first, last = sum(curve[:part]) / part, sum(curve[-part:]) / part
            values |= {f"{name}_first": first, f"{name}_last": last, f"{name}_rise": last - first}
        return values

    return run
