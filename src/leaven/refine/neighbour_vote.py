"""What the nearest known things say a proposal is."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class NeighbourVote(NamedTuple):
    """Attributes:
    classes: (m,) int64, the class with the most votes; of equals the one of the lowest index.
    share: (m,) float, its share of the votes, in (0, 1].
    """

    classes: Tensor
    share: Tensor


def neighbour_vote(
    queries: Tensor, bank: Tensor, classes: Tensor, num_classes: int, count: int = 10
) -> NeighbourVote:
    """The majority among the nearest rows of a bank of known things.

    With ``c`` the mean of the bank: the ``count`` rows b of the largest cosine of ``q - c`` and
    ``b - c`` vote for their classes. Every pair is compared, as a bank of a few shots is small.

    Args:
        queries: (m, D) features of the proposals.
        bank: (n, D) features of known things, n >= 1; of all classes, not only of those proposed.
        classes: (n,) int64 in 0 ... K - 1.
        num_classes: K.
        count: k >= 1; all of a bank that is smaller.

    Raises:
        ValueError: an empty bank, or a count below 1.

    Source: Kaul et al., Label, Verify, Correct, CVPR 2022. Used by: 034.
    """
    if not len(bank) or count < 1:
        raise ValueError(f"{count} of {len(bank)} known things are asked for their votes")
    centre = bank.mean(0)
    cosine = F.normalize(queries - centre, dim=1) @ F.normalize(bank - centre, dim=1).T
    nearest = cosine.topk(min(count, len(bank)), 1).indices
    votes = F.one_hot(classes[nearest], num_classes).sum(1)
    most, winner = votes.max(1)
    return NeighbourVote(winner, most / nearest.shape[1])
