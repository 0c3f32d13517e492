"""What a plan of training costs, with the rates of a run where it measured them."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaven.errors import ConfigError, RunError
from leaven.quality.generation.cost import PIXART_ALPHA, TrainingStage, gpu_days, published_days
from leaven.report.plan_page import write_plan_page

_STAGE = re.compile(r"(?P<name>.*\S)\s*=\s*(?P<steps>\d+)[xX](?P<batch>\d+)(?:@(?P<rate>[\d.]+))?")


@dataclass(frozen=True)
class Plan:
    """Stages, and on what they are computed.

    Attributes:
        stages: of the plan.
        gpus: that share the work, as far as they scale.
        price: of a GPU for an hour, in any currency; None when it is not asked for.
        source: where the rates come from, for people.
    """

    stages: tuple[TrainingStage, ...]
    gpus: int = 1
    price: float | None = None
    source: str = ""

    @property
    def gpu_days(self) -> float:
        """Of all stages."""
        return gpu_days(self.stages)

    @property
    def days(self) -> float:
        """Until the plan is done."""
        return self.gpu_days / self.gpus

    @property
    def cost(self) -> float | None:
        """``24 price gpu_days``."""
        return None if self.price is None else 24 * self.price * self.gpu_days

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        v100, a100 = published_days()
        return {
            "stages": [
                {
                    "name": stage.name,
                    "steps": stage.steps,
                    "batch": stage.batch,
                    "images": stage.images,
                    "images_per_second": stage.images_per_second,
                    "gpu_days": stage.gpu_days,
                }
                for stage in self.stages
            ],
            "images": sum(stage.images for stage in self.stages),
            "gpu_days": self.gpu_days,
            "gpus": self.gpus,
            "days": self.days,
            "price": self.price,
            "cost": self.cost,
            "rates_from": self.source,
            "published": {"v100_days": v100, "a100_days": a100},
        }

    def write_page(self, path: Path) -> Path:
        """The plan as a page that computes again when its numbers are changed."""
        return write_plan_page(path, self.as_dict(), PIXART_ALPHA)


def published_plan(times: float = 1.0, gpus: int = 1, price: float | None = None) -> Plan:
    """The published schedule on a GPU that is ``times`` as fast as a V100."""
    stages = tuple(
        TrainingStage(_title(row.name, row.pixels), row.steps, row.batch,
                      times * row.images_per_second)
        for row in PIXART_ALPHA
    )  # fmt: skip
    speed = "a V100, as published" if times == 1 else f"a GPU {times:g} times as fast as a V100"
    return Plan(stages, gpus, price, speed)


def plan_of(
    texts: Sequence[str], run: Path | None, gpus: int = 1, price: float | None = None
) -> Plan:
    """A plan of stages written as ``NAME=STEPSxBATCH@RATE``.

    Where ``@RATE`` is left out it is what ``run`` measured in its stage of that name, or in its only
    one.

    Raises:
        ConfigError: a stage that is not written so, or one without a rate.
        RunError: ``run`` measured no rate.
    """
    measured, machine = ({}, "") if run is None else measured_rates(run)
    stages = tuple(_stage(text, measured, run) for text in texts)
    source = "as given" if run is None else f"as given, else by {run.resolve().name} on {machine}"
    return Plan(stages, gpus, price, source)


def measured_rates(run: Path) -> tuple[dict[str, float], str]:
    """Images per second of each stage of a run, the median of what it noted, and its processor.

    The first note of a stage is left out where there are others: it holds what is done once.

    Raises:
        RunError: no run, or one that has noted no rate.
    """
    noted: dict[str, list[float]] = {}
    try:
        with (run / "metrics.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                row = _record(line)
                rate = row.get("images_per_second")
                if isinstance(rate, int | float) and 0 < rate < float("inf"):
                    noted.setdefault(str(row.get("phase", "")), []).append(float(rate))
    except OSError as error:
        raise RunError(
            f"{run} has no metrics that can be read ({error.strerror}).",
            "the folder of a run, with metrics.jsonl in it",
            "Check the path.",
        ) from error
    if not noted:
        raise RunError(
            f"{run} has noted no rate.",
            "a run that has trained for some steps",
            "Run it a while, or give rates: --stage NAME=STEPSxBATCH@RATE.",
        )
    rates = {name: statistics.median(rows[1:] or rows) for name, rows in noted.items()}
    return rates, _processor(run)


def _stage(text: str, measured: dict[str, float], run: Path | None) -> TrainingStage:
    found = _STAGE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"The stage {text!r} cannot be read.",
            "NAME=STEPSxBATCH@RATE, for example pixels=50000x256@300",
            "write it so; RATE is pictures per second of one GPU.",
        )
    name = found["name"].strip()
    try:
        rate = float(found["rate"]) if found["rate"] else _rate(name, measured)
    except ValueError:
        rate = None
    if rate is None:
        known = ", ".join(f"{stage} ({value:.1f})" for stage, value in measured.items())
        raise ConfigError(
            f"The stage {name!r} has no rate.",
            f"@RATE behind it, or one of the stages that {run} measured: {known}"
            if measured
            else "pictures per second of one GPU, such as @300",
            f"write {name}={found['steps']}x{found['batch']}@RATE"
            + ("." if measured else ", or give --run RUN whose stages are timed."),
        )
    return TrainingStage(name, int(found["steps"]), int(found["batch"]), rate)


def _rate(name: str, measured: dict[str, float]) -> float | None:
    only = next(iter(measured.values())) if len(measured) == 1 else None
    return measured.get(name, only)


def _record(line: str) -> dict[str, Any]:
    """A line of metrics; nothing of the torn last line of a run that was killed."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _processor(run: Path) -> str:
    """What the run was computed on, as far as it says."""
    try:
        summary = _record((run / "summary.json").read_text(encoding="utf-8"))
    except OSError:
        return "an unknown machine"
    machine = summary.get("environment")
    name = machine.get("processor") if isinstance(machine, dict) else None
    return str(name or "an unknown machine")


def _title(name: str, pixels: int) -> str:
    return f"{name} {pixels}"
