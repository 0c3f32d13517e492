"""Which classes a pixel is safely not: by their rank among its probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


def class_ranks(probs: Tensor) -> Tensor:
    """How many classes are more likely: 0 for the most likely one, K - 1 for the least likely.

    Ties go to the lower class.

    Args:
        probs: (B, K, ...).

    Returns:
        int64 of the same shape.

    Used by: 054, 117.
    """
    order = torch.argsort(probs, dim=1, descending=True, stable=True)
    return order.argsort(1)


def negative_classes(
    ranks: Tensor,
    classes: Tensor,
    given: Tensor,
    uncertain: Tensor,
    window: tuple[int, int] = (3, 20),
) -> Tensor:
    """The classes that each pixel is a good negative of.

    A pixel whose class a person gave is one of the classes that it is not, but that the model
    believes it could be: ``c != y`` with a rank below ``low``. An uncertain pixel is undecided among
    its most likely classes, but safely none of the least likely: ``low <= rank < high``.

    Args:
        ranks: (B, K, h, w), see ``class_ranks``.
        classes: (B, h, w) int64, -1 where unknown.
        given: (B, h, w) bool, the class of the pixel is a given one; unknown ones count for none.
        uncertain: (B, h, w) bool, the pixel is an uncertain one without a given class.
        window: ``low`` and ``high``.

    Returns:
        (B, K, h, w) bool.

    Source: Wang et al., U2PL, CVPR 2022. Used by: 054, 117.
    """
    low, high = window
    # Compared with a column of class numbers, which is (B, K, h, w) without one-hot maps.
    number = ranks.new_tensor(range(ranks.shape[1]))[:, None, None]
    known = (given & (classes >= 0))[:, None]
    confused = known & (classes[:, None] != number) & (ranks < low)
    unlikely = uncertain[:, None] & (ranks >= low) & (ranks < high)
    return confused | unlikely
