"""Freed memory stays with a process that trains on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from leaven.train.memory import keep_freed_memory

SCRIPT = """
import json, resource, torch
from leaven.train.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
first, told = faults(), keep_freed_memory()
faults()  # where the first blocks come to lie is chance: now and then a second one is asked for
print(json.dumps({"first": first, "told": told, "then": faults()}))
"""


def seen() -> dict[str, Any]:
    """The page faults of five large blocks, before and after, in a process of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=clean,
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(found.stdout))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of the C library of Linux")
def test_large_blocks_are_used_again() -> None:
    found = seen()
    if not found["told"]:
        pytest.skip("not glibc")
    assert found["first"] > 1000
    assert found["then"] < found["first"] / 100


@pytest.mark.parametrize("name", ["MALLOC_ARENA_TEST", "GLIBC_TUNABLES"])
def test_what_the_environment_says_goes_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "8")
    assert not keep_freed_memory()
