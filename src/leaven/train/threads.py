"""How many threads to compute with: found by a short timing, not by counting cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch


def candidates(cores: int) -> list[int]:
    """1, 2, 4, ... and all cores."""
    counts = [1]
    while counts[-1] * 2 < cores:
        counts.append(counts[-1] * 2)
    return counts if cores <= 1 else [*counts, cores]


def fastest(counts: list[int], work: Callable[[], None], seconds: float = 0.5) -> int:
    """The thread count with the shortest median time of ``work``; a tie goes to fewer threads.

    On a machine that is busy with other work, more threads can be many times slower than one, and
    no count of cores tells. The counts take turns until ``seconds`` are spent. More threads have to
    win by 5 %.
    """
    times: dict[int, list[float]] = {count: [] for count in counts}
    before, start = torch.get_num_threads(), time.perf_counter()
    try:
        while time.perf_counter() - start < seconds or len(times[counts[-1]]) < 2:
            for count in counts:
                torch.set_num_threads(count)
                began = time.perf_counter()
                work()
                times[count].append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    median = {count: sorted(spent)[len(spent) // 2] for count, spent in times.items()}
    best = counts[0]
    for count in counts[1:]:
        if median[count] < 0.95 * median[best]:
            best = count
    return best


def fastest_here(work: Callable[[], None]) -> int:
    """The fastest number of threads for ``work`` on this machine; what it draws is forgotten."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    counts = candidates(cores or 1)
    if len(counts) == 1:
        return 1
    with torch.random.fork_rng(devices=[]):
        return fastest(counts, work)
