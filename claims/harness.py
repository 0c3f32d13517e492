"""What a claim is, how it is measured, and how its result is kept."""

from __future__ import annotations

import importlib
import json
import logging
import pkgutil
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

import leaven
from claims.measures import measured
from leaven.atomic import replacing
from leaven.data import Data
from leaven.methods import Method
from leaven.train import Budget, Settings, trainer_of

log = logging.getLogger("claims")

RESULTS = Path(__file__).parent / "results"

Measure = Callable[[int], dict[str, float]]
"""An experiment of its own: seed -> measured values by name."""


@dataclass(frozen=True)
class On:
    """A method on changed data, for example without the unlabelled items."""

    method: Method
    change: Callable[[Data], Data]


@dataclass(frozen=True)
class Also:
    """A method, and further figures of what it has trained, by name."""

    method: Method
    figures: Callable[[Any, Any], dict[str, float]]


Work = Method | On | Also | Measure


@dataclass(frozen=True)
class Gain:
    """An expectation: ``better`` beats ``than`` by ``points`` or more, on average over the seeds.

    ``points`` are percentage points of ``metric``, a value in [0, 1]; negative points allow a loss.
    """

    better: str
    than: str
    points: float
    metric: str = "accuracy"

    @property
    def text(self) -> str:
        if self.points < 0:
            return f"{self.better} loses at most {-self.points:g} points of {self.metric} to {self.than}"
        return f"{self.better} beats {self.than} by {self.points:g} points of {self.metric}"

    def measured(self, means: Mapping[str, Mapping[str, float]]) -> float:
        """The difference of the means in points."""
        return 100 * (means[self.better][self.metric] - means[self.than][self.metric])

    def shown(self, means: Mapping[str, Mapping[str, float]]) -> bool:
        return self.measured(means) >= self.points


@dataclass(frozen=True)
class Level:
    """An expectation: ``metric`` of ``variant`` is at least (or at most) ``points`` per cent."""

    variant: str
    points: float
    metric: str = "accuracy"
    at_most: bool = False

    @property
    def text(self) -> str:
        bound = "at most" if self.at_most else "at least"
        return f"{self.variant} reaches {bound} {self.points:g} % {self.metric}"

    def measured(self, means: Mapping[str, Mapping[str, float]]) -> float:
        """The mean in per cent."""
        return 100 * means[self.variant][self.metric]

    def shown(self, means: Mapping[str, Mapping[str, float]]) -> bool:
        value = self.measured(means)
        return value <= self.points if self.at_most else value >= self.points


@dataclass(frozen=True)
class NearBest:
    """An expectation: no other variant beats ``variant`` by more than ``points`` of ``metric``."""

    variant: str
    points: float
    metric: str = "accuracy"

    @property
    def text(self) -> str:
        return f"{self.variant} is within {self.points:g} points of the best {self.metric}"

    def measured(self, means: Mapping[str, Mapping[str, float]]) -> float:
        """The difference to the best of the others in points; negative where one is better."""
        best = max(values[self.metric] for name, values in means.items() if name != self.variant)
        return 100 * (means[self.variant][self.metric] - best)

    def shown(self, means: Mapping[str, Mapping[str, float]]) -> bool:
        return self.measured(means) >= -self.points


Expectation = Gain | Level | NearBest


@dataclass(frozen=True)
class Claim:
    """One experiment.

    Attributes:
        method: the name of the method it is about.
        statement: what should show, in a sentence.
        setting: data, network and budget in words.
        variants: what is compared, by name: a method to train on ``data``, or an experiment.
        expect: what has to hold for the claim to be shown.
        data: seed -> the data; not needed when all variants are experiments.
        budget, model, options: of every variant.
        seeds: at least three.
        note: what to know about the result, for CLAIMS.md.
        evaluations: how often a run is measured on its way.
        precision: of the computing; the results name it.
        metric: what the variants are compared by.
        weights: finds the file that models start from; random ones when None.
        like: the claim whose runs are taken over where method, data and settings are the same.
    """

    method: str
    statement: str
    setting: str
    variants: Mapping[str, Work]
    expect: tuple[Expectation, ...]
    data: Callable[[int], Data[Any]] | None = None
    budget: Budget | Mapping[str, Budget] = field(default_factory=lambda: Budget(steps=1000))
    model: str = "auto"
    options: Mapping[str, Any] | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    evaluations: int = 1
    note: str = ""
    precision: str = "fp32"
    metric: str = "accuracy"
    weights: Callable[[], str] | None = None
    like: str = ""

    def same_run(self, other: Claim, variant: str) -> bool:
        """Whether ``variant`` is trained in ``other`` on the same data in the same way."""
        mine, theirs = ((c.data, c.model, c.weights, c.options, c.precision) for c in (self, other))
        work = self.variants[variant]
        return (
            isinstance(work, Method)
            and work == other.variants.get(variant)
            and mine == theirs
            and _budget(self, variant) == _budget(other, variant)
        )


def _budget(claim: Claim, variant: str) -> Budget:
    return claim.budget if isinstance(claim.budget, Budget) else claim.budget[variant]


HELPERS = (
    "__main__",
    "box_trust",
    "correction_rounds",
    "corruptions",
    "curves",
    "harness",
    "label_rounds",
    "measures",
    "patch_features",
    "pixel_trust",
    "pretrained",
    "settings",
    "sources",
    "street_photos",
    "table",
)
FAMILIES = ("matrix",)
"""Modules with many claims, in ``CLAIMS`` by their names."""


def names() -> list[str]:
    """All claims of this package."""
    modules = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}
    families = sorted(modules & set(FAMILIES))
    many = [name for family in families for name in _content(family)["CLAIMS"]]
    return sorted([*(modules - set(HELPERS) - set(FAMILIES)), *many])


def load(name: str) -> Claim:
    """The claim in the module ``name``, or in the family that the name begins with."""
    family = name.partition("_")[0]
    return _content(family)["CLAIMS"][name] if family in FAMILIES else _content(name)["CLAIM"]


def _content(module: str) -> dict[str, Any]:
    return vars(importlib.import_module(f"claims.{module}"))


def run(
    name: str,
    *,
    seeds: tuple[int, ...] | None = None,
    variants: tuple[str, ...] | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Measures what is not yet measured of a claim and returns its result.

    A result is kept after every run, so that a claim goes on where it was stopped; several processes
    may measure a claim at once, of other seeds or variants each.

    Args:
        seeds, variants: which of the claim's; all when None.
        fresh: forgets what has been measured of these before.

    Raises:
        ValueError: of variants that the claim does not have.
    """
    claim = load(name)
    if unknown := set(variants or ()) - set(claim.variants):
        raise ValueError(
            f"{name} has no variants {sorted(unknown)}; choose from {', '.join(claim.variants)}"
        )
    chosen = [
        (seed, variant)
        for seed in seeds or claim.seeds
        for variant in claim.variants
        if not variants or variant in variants
    ]
    path = RESULTS / f"{name}.json"
    if fresh:
        _keep(path, claim, dict.fromkeys(chosen))
    for seed, variant in chosen:
        if str(seed) in _runs(path).get(variant, {}):
            continue
        began = time.monotonic()
        values = _taken_over(claim, variant, seed)
        if values is None:
            values = _measure(claim, variant, claim.variants[variant], seed)
            values["seconds"] = round(time.monotonic() - began, 1)
        log.info("%s, %s, seed %d: %s", name, variant, seed, values)
        _keep(path, claim, {(seed, variant): values})
    return _keep(path, claim, {})


def retell() -> None:
    """Brings the words and expectations of all kept results up to those of their claims.

    What was measured, in which environment and with which hyperparameters, stays as it is: a claim
    whose experiment has changed is to be measured anew.
    """
    for path in RESULTS.glob("*.json"):
        with _locked(path):
            before = json.loads(path.read_text())
            now = _result(load(path.stem), before["runs"])
            measured_with = {key: before[key] for key in ("hyperparameters", "environment")}
            _write(path, now | measured_with)


Runs = dict[str, dict[str, dict[str, float]]]
"""What was measured, by variant and seed."""


def _runs(path: Path) -> Runs:
    runs: Runs = json.loads(path.read_text())["runs"] if path.exists() else {}
    return runs


def _keep(
    path: Path, claim: Claim, found: Mapping[tuple[int, str], dict[str, float] | None]
) -> dict[str, Any]:
    """Adds ``found``, by seed and variant, to the result in ``path``; None takes one away."""
    path.parent.mkdir(exist_ok=True)
    with _locked(path):
        runs = _runs(path)
        for (seed, variant), values in found.items():
            by_seed = runs.setdefault(variant, {})
            by_seed.pop(str(seed), None)
            if values is not None:
                by_seed[str(seed)] = values
        order = {variant: runs[variant] for variant in claim.variants if runs.get(variant)}
        kept = {v: dict(sorted(by_seed.items(), key=_number)) for v, by_seed in order.items()}
        result = _result(claim, kept)
        _write(path, result)
    return result


def _locked(path: Path) -> FileLock:
    return FileLock(path.with_suffix(".lock"))


def _number(by_seed: tuple[str, Any]) -> int:
    return int(by_seed[0])


def _taken_over(claim: Claim, variant: str, seed: int) -> dict[str, float] | None:
    """What the claim that this one is like has measured of the same run; None where it has not."""
    path = RESULTS / f"{claim.like}.json"
    if not claim.like or not path.exists() or not claim.same_run(load(claim.like), variant):
        return None
    return json.loads(path.read_text())["runs"].get(variant, {}).get(str(seed))


def _measure(claim: Claim, variant: str, work: Work, seed: int) -> dict[str, float]:
    if not isinstance(work, Method | On | Also):
        return dict(work(seed))
    assert claim.data is not None
    data, figures = claim.data(seed), None
    if isinstance(work, Also):
        figures, work = work.figures, work.method
    if isinstance(work, On):
        data, work = work.change(data), work.method
    budget = _budget(claim, variant)
    settings = Settings(
        budget=budget,
        seed=seed,
        model=claim.model,
        weights=None if claim.weights is None else claim.weights(),
        options=dict(claim.options or {}),
        threads=torch.get_num_threads(),
        evaluations=claim.evaluations,
        precision=claim.precision,
    )
    trainer = trainer_of(work.card.task)(data, None, settings)
    fitted = work.fit(trainer.data, trainer)
    values = measured(trainer, fitted)
    return values if figures is None else values | figures(trainer, fitted)


def _result(claim: Claim, runs: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    means: dict[str, dict[str, float]] = {}
    spread: dict[str, dict[str, float]] = {}
    for variant, by_seed in runs.items():
        keys = {key for values in by_seed.values() for key in values}
        columns = {k: [v[k] for v in by_seed.values() if k in v] for k in sorted(keys)}
        means[variant] = {key: statistics.fmean(column) for key, column in columns.items()}
        spread[variant] = {
            key: statistics.stdev(column) if len(column) > 1 else 0.0
            for key, column in columns.items()
        }
    whole = all(len(runs.get(variant, {})) >= len(claim.seeds) for variant in claim.variants)
    return {
        "method": claim.method,
        "statement": claim.statement,
        "setting": claim.setting,
        "metric": claim.metric,
        "note": claim.note,
        "seeds": list(claim.seeds),
        "complete": whole,
        "expectations": [_judged(e, means) for e in claim.expect] if whole else [],
        "mean": means,
        "standard_deviation": spread,
        "hyperparameters": {
            name: method.model_dump(mode="json")
            for name, work in claim.variants.items()
            if isinstance(method := getattr(work, "method", work), Method)
        },
        "runs": runs,
        "environment": {
            "leaven": leaven.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "precision": claim.precision,
        },
    }


def _judged(expected: Expectation, means: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """What an expectation came to; one of a figure that no run has is not shown."""
    try:
        measured, shown = round(expected.measured(means), 2), expected.shown(means)
    except KeyError:
        measured, shown = None, False
    return {"text": expected.text, "measured": measured, "shown": shown}


def _write(path: Path, result: Mapping[str, Any]) -> None:
    with replacing(path) as beside:
        beside.write_text(json.dumps(result, indent=2) + "\n")
