"""What the benchmarks share: taking turns at the clock, describing the machine, keeping results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import leaven

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Measurement:
    """Items per second of one case, round by round.

    Attributes:
        rates: one rate per round; round ``i`` of every case was taken at about the same time.
    """

    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        """Items per second."""
        return statistics.median(self.rates)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The middle half of the rates."""
        low, _, high = statistics.quantiles(self.rates, n=4, method="inclusive")
        return low, high

    def times(self, other: Measurement) -> float:
        """How many times faster than ``other``: the median of the ratios of the rounds."""
        return statistics.median(a / b for a, b in zip(self.rates, other.rates))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        low, high = self.quartiles
        return {"median": self.median, "low": low, "high": high, "rounds": len(self.rates)}


def compare(
    cases: Mapping[str, Callable[[], int]], seconds: float, rounds: int = 9
) -> dict[str, Measurement]:
    """Measures the cases in turns, so that a busy moment of the machine meets all of them.

    Args:
        cases: per name a callable that does some work and returns how many items it did. Work on
            a GPU must be waited for inside.
        seconds: about how long each case runs, all rounds together; a call is never cut short.
        rounds: turns per case, at least 2.

    Returns:
        Items per second per case, after one call of each that is not counted.
    """
    for case in cases.values():
        case()
    rates: dict[str, list[float]] = {name: [] for name in cases}
    order = list(cases)
    for _ in range(rounds):
        for name in order:
            rates[name].append(_rate(cases[name], seconds / rounds))
        order.append(order.pop(0))
    return {name: Measurement(tuple(values)) for name, values in rates.items()}


def environment() -> dict[str, Any]:
    """Versions and the machine, as far as speed depends on them."""
    return {
        "leaven": leaven.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def save(name: str, payload: Mapping[str, Any]) -> Path:
    """Writes ``payload`` with the environment to ``results/<name>.json``; returns the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {"benchmark": name, "environment": environment(), **payload}
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def _rate(case: Callable[[], int], seconds: float) -> float:
    items, start = 0, time.perf_counter()
    while True:
        items += case()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return items / elapsed


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def turn_taking(kind: type[Any], block: int) -> type[Any]:
    """The trainer ``kind``: after every ``block`` of engine steps, as many of ``other``; the seconds
    of the blocks are kept in ``mine`` and ``theirs``."""

    class TurnTaking(kind):  # type: ignore[misc]
        other: Callable[[], None]

        def steps(self, **arguments: Any) -> Iterator[Any]:
            self.mine: list[float] = []
            self.theirs: list[float] = []
            began = time.perf_counter()
            for number, batch in enumerate(super().steps(**arguments)):
                if number and number % block == 0:
                    self.mine.append(time.perf_counter() - began)
                    began = time.perf_counter()
                    for _ in range(block):
                        self.other()
                    self.theirs.append(time.perf_counter() - began)
                    began = time.perf_counter()
                yield batch

    return TurnTaking


def timed(kind: type[Any]) -> type[Any]:
    """The trainer ``kind``, which keeps when each step ended: ``ends``, of the clock, and ``used``,
    what the process had used of the processor by then."""

    class Timed(kind):  # type: ignore[misc]
        def update(self, *args: Any, **options: Any) -> bool:
            moved: bool = super().update(*args, **options)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends = [*getattr(self, "ends", []), time.perf_counter()]
            self.used = [*getattr(self, "used", []), os.times()]
            return moved

    return Timed
