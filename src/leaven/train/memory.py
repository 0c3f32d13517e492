"""The memory of a CPU's training steps: kept from step to step, not asked for anew."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""The parameters of glibc's ``mallopt`` (malloc.h)."""

_PAD = 64 * 2**20
"""Bytes that the heap grows by at a time, at least."""


def keep_freed_memory() -> bool:
    """Lets the process keep what it frees; True where the C library can be told so.

    By default glibc takes every block above some size from the system and gives it back when it is
    freed, so that each step of a training asks for all its activations anew and the system clears
    them page by page. For large batches on a CPU that is up to a third of the time of a step. The
    process then holds what its largest step took until it ends.

    Nothing is changed on other systems, or where environment variables ``MALLOC_...`` or
    ``GLIBC_TUNABLES`` say how memory is to be handled.
    """
    said = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if said or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # -1: what is free at the end of the heap is never given back; 0: no block is mapped by itself.
    pairs = ((_TRIM_THRESHOLD, -1), (_TOP_PAD, _PAD), (_MMAP_MAX, 0))
    done = [mallopt(name, value) for name, value in pairs]
    return all(done)
