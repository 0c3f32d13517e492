"""As often as two models say the same, each of them is right."""

from __future__ import annotations

from torch import Tensor


def agreement(first: Tensor, second: Tensor) -> float:
    """``1 / n sum_i 1[first_i = second_i]``.

    Of two networks that were trained alike from different random starts, and are calibrated as an
    ensemble, this is the accuracy of each (generalisation disagreement equality). Of a network and
    its own adapted copy, which share mistakes, it is too high.

    Args:
        first, second: (n,) classes, n >= 1.

    Returns:
        The estimate in [0, 1].

    Raises:
        ValueError: no items, or not equally many.

    Source: Jiang et al., Assessing generalization of SGD via disagreement, ICLR 2022. Used by: 023.
    """
    if len(first) == 0 or len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} classes; equally many are needed, not 0")
    return float((first == second).double().mean())
