"""A killed run, resumed, ends where one that was never killed ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from leaven.train import Checkpoints

SCRIPT = Path(__file__).parent / "killed_run.py"


def start(name: str, folder: Path, steps: int, values: tuple[str, ...]) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), name, str(folder), str(steps), *values],
        env=environment,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


@pytest.mark.parametrize(
    ("name", "steps", "values"),
    [
        ("fixmatch", 40, ("batch=16", "ratio=2", "threshold=0.2", "align=mean")),
        ("curriculum-labeling", 40, ("batch=16",)),
    ],
)
def test_a_run_killed_at_random_ends_bit_identical(
    tmp_path: Path, name: str, steps: int, values: tuple[str, ...]
) -> None:
    whole = tmp_path / "whole"
    finish(start(name, whole, steps, values))

    killed = tmp_path / "killed"
    checkpoints = Checkpoints(killed / "checkpoints")
    source = random.Random()
    for _ in range(2):
        process = start(name, killed, steps, values)
        seen = len(checkpoints.files()) and checkpoints.files()[-1].name
        while process.poll() is None:
            files = checkpoints.files()
            if files and files[-1].name != seen:
                time.sleep(source.uniform(0.0, 0.1))
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.communicate(timeout=60)
    # A kill may come after the last step, even after the file was written: what is compared
    # is what the last process wrote.
    (killed / "end.pt").unlink(missing_ok=True)
    finish(start(name, killed, steps, values))

    expected = torch.load(whole / "end.pt", weights_only=True)
    found = torch.load(killed / "end.pt", weights_only=True)
    assert found["step"] == expected["step"]
    for key, value in expected["model"].items():
        assert torch.equal(found["model"][key], value), key
    assert torch.equal(found["probs"], expected["probs"])
    lines = [(f / "metrics.jsonl").read_text().count('"loss/') for f in (whole, killed)]
    assert lines[0] == lines[1]
