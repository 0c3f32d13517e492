"""FixMatch's step of a large batch on a CPU, with freed memory kept by the process and without.

Each case is a process of its own that makes steps of WRN-28-2 on made-up pictures of 32x32; without
is what a process does to which an environment variable says how memory is handled. The cases take
turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from itertools import pairwise
from typing import Any

import torch

from benchmarks.common import save, timed
from benchmarks.training import pictures
from leaven.methods.classification.fixmatch import FixMatch
from leaven.train import Budget, Settings, Trainer

CASES = {"kept": {}, "given back": {"MALLOC_ARENA_TEST": "8"}}
"""Environment variables of a process; the variable itself changes nothing in a single thread."""


def one(batch: int, steps: int, precision: Any) -> dict[str, float]:
    """The median step in this process, the share of it that the system takes, and the memory."""
    settings = Settings(
        budget=Budget(steps=steps), device="cpu", threads=1, model="wrn-28-2",
        precision=precision, evaluations=1,
    )  # fmt: skip
    trainer = timed(Trainer)(pictures(3, 32), None, settings)
    FixMatch(batch=batch, ratio=7).fit(trainer.data, trainer)
    first, last = trainer.used[0], trainer.used[-1]
    used = (last.user - first.user) + (last.system - first.system)
    return {
        "seconds_per_step": statistics.median(b - a for a, b in pairwise(trainer.ends)),
        "cpu_seconds_per_step": used / (len(trainer.ends) - 1),
        "system_share": (last.system - first.system) / used,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main(quick: bool = False) -> dict[str, Any]:
    """Measures, prints and keeps the ratio of the time per step."""
    rows: dict[str, Any] = {}
    for batch, precision in ((64, "fp32"), (64, "bf16")):
        found: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
        for _ in range(1 if quick else 3):
            for name, variables in CASES.items():
                call = [sys.executable, "-m", "benchmarks.memory", "--one", str(batch), precision]
                clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
                printed = subprocess.run(
                    call, env={**clean, **variables}, check=True, capture_output=True, text=True
                ).stdout  # fmt: skip
                found[name].append(json.loads(printed.splitlines()[-1]))
        case = f"wrn-28-2, {batch} + 7 x {batch} pictures, {precision}"
        rows[case] = {
            name: {key: statistics.median(r[key] for r in runs) for key in runs[0]}
            for name, runs in found.items()
        }
        kept, given = rows[case]["kept"], rows[case]["given back"]
        rows[case]["times_faster"] = given["cpu_seconds_per_step"] / kept["cpu_seconds_per_step"]
        print(f"{case}: {rows[case]}")
    save("memory", {"cases": rows})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("BATCH", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        print(json.dumps(one(int(options.one[0]), 4, options.one[1])))
    else:
        main(options.quick)
