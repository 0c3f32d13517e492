"""How far pictures are moved before a second opinion on them is asked for."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Rule = Literal["sample", "domain", "mixed"]
Difficulty = Literal["entropy", "disagreement"]


def perturbation_radius(
    probs: Tensor,
    classes: Tensor,
    size: float,
    rule: Rule = "mixed",
    difficulty: Difficulty = "entropy",
) -> Tensor:
    """The size of the adversarial change of each picture: larger, the harder the pictures are.

    ``radius_i = size * u_i`` as a root mean square over the values of a picture, which is the
    Euclidean length ``size * sqrt(D) * u_i``, with ``u_i`` in [0, 1] one of ::

        sample   H(p_i) / log K
        domain   the mean of that over the set, or 1 - the share of items on which the two agree
        mixed    sqrt(sample * domain)

    Args:
        probs: (n, K) of the second model, rows that sum to 1.
        classes: (n,) what the first model says.
        size: >= 0, the same for all data.
        rule: see above.
        difficulty: what ``domain`` is measured by.

    Returns:
        (n,) in [0, size]; 0 where there is one class.

    Raises:
        ValueError: a negative size.

    Source: Lee et al., ICCV 2023, as far as it is told there; the rules are of this toolbox.
    Used by: 023.
    """
    if size < 0:
        raise ValueError(f"a size is 0 or more, not {size}")
    if len(probs) == 0 or probs.shape[1] < 2:
        return probs.new_zeros(len(probs))
    unsure = (torch.special.entr(probs).sum(1) / math.log(probs.shape[1])).clamp(0, 1)
    if difficulty == "entropy":
        domain = unsure.mean()
    else:
        domain = (probs.argmax(1) != classes).to(unsure.dtype).mean()
    if rule == "sample":
        return size * unsure
    if rule == "domain":
        return size * domain.expand(len(probs))
    return size * (unsure * domain).sqrt()
