"""Two processes follow one process at the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).parent / "two_processes.py"


def launch(count: int, file: Path) -> dict[str, torch.Tensor]:
    command = [sys.executable]
    if count > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(file)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    saved = torch.load(file, weights_only=True)
    assert saved["world"] == count
    return saved["model"]


def test_two_processes_follow_one(tmp_path: Path) -> None:
    one = launch(1, tmp_path / "one.pt")
    two = launch(2, tmp_path / "two.pt")
    moved = 0.0
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=name)
        moved += float(value.float().abs().sum())
    assert moved > 0
