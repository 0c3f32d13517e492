"""What scenes show, in English."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def caption(classes: list[int], boxes: Tensor) -> str:
    """Names the digits from left to right and says how each lies to the next one.

    ``a three left of a seven, a seven above a two``; a single digit is ``a three``, and where there
    is none, ``no digits``. Of the two distances between the middles of neighbours' boxes the larger
    one decides: along x (or both alike) ``left of``, along y ``above`` or ``below``. Digits whose
    middles have the same x are named in the order of their rows.

    Args:
        classes: m digits 0..9.
        boxes: (m, 4) x1, y1, x2, y2.
    """
    if not classes:
        return "no digits"
    middles = ((boxes[:, :2] + boxes[:, 2:]) / 2).tolist()
    order = sorted(range(len(classes)), key=lambda row: middles[row])
    names = [_named(classes[row]) for row in order]
    if len(order) == 1:
        return names[0]
    clauses = []
    for place, (one, other) in enumerate(pairwise(order)):
        right = middles[other][0] - middles[one][0]
        down = middles[other][1] - middles[one][1]
        relation = "left of" if right >= abs(down) else "above" if down > 0 else "below"
        clauses.append(f"{names[place]} {relation} {names[place + 1]}")
    return ", ".join(clauses)


def _named(digit: int) -> str:
    return f"{'an' if digit == 8 else 'a'} {NAMES[digit]}"


def multi_hot(classes: Tensor, shown: Tensor) -> Tensor:
    """(n, 10) bool, the digits of which one object at least is ``shown`` (n, L) bool.

    Args:
        classes: (n, L) int64 in 0..9, or -1.
        shown: those that count.
    """
    tags = torch.zeros(len(classes), len(NAMES), dtype=torch.bool)
    rows, slots = (shown & (classes >= 0)).nonzero(as_tuple=True)
    tags[rows, classes[rows, slots]] = True
    return tags
