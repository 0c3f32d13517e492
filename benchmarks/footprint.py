"""The time of ``import leaven`` and of ``leaven --help``, and the peak memory of the demo's run."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import save

ROOT = Path(__file__).parents[1]


def seconds(command: list[str], repeats: int) -> float:
    """The median wall-clock time of a command."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main(quick: bool = False) -> dict[str, Any]:
    """Measures, prints and keeps the figures."""
    repeats = 3 if quick else 9
    bare = seconds([sys.executable, "-c", "pass"], repeats)
    with_leaven = seconds([sys.executable, "-c", "import leaven"], repeats)
    with_torch = seconds([sys.executable, "-c", "import torch"], 3)
    help_text = seconds([sys.executable, "-m", "leaven.cli.main", "--help"], repeats)
    with tempfile.TemporaryDirectory() as folder:
        budget = "20" if quick else "300"
        command = [sys.executable, "-m", "leaven.cli.main", "run", "digits"]
        command += ["--config", str(ROOT / "demo.yaml"), "--budget", budget, "--threads", "1"]
        subprocess.run([*command, "--out", f"{folder}/run"], check=True, capture_output=True)
    rows = {
        "import_leaven_seconds": with_leaven - bare,
        "import_torch_seconds": with_torch - bare,
        "help_seconds": help_text,
        "demo_peak_memory_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    for name, value in rows.items():
        print(f"{name}: {value:.3f}")
    save("footprint", {"figures": rows})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
