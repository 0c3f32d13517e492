"""One set of weights from several: what a server makes of what clients send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def average_states(
    states: Sequence[State], shares: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """The weighted mean of every tensor, buffers included: ``sum_k shares_k / sum(shares) s_k``.

    Sums are formed in float64; whole numbers (counters) are rounded. Shares that sum to 0 count as
    equal ones.

    Args:
        states: one or more, of the same names and shapes.
        shares: not negative, one for each; equal when None.

    Raises:
        ValueError: no state, another number of shares, or a negative one.

    Source: McMahan et al., FedAvg, 2017. Used by: 081.
    """
    shares = [1.0] * len(states) if shares is None else list(shares)
    if not states or len(shares) != len(states) or min(shares) < 0:
        raise ValueError(f"{len(states)} states and the shares {shares}")
    total = sum(shares)
    parts = [share / total if total else 1 / len(shares) for share in shares]
    return {name: _mean([state[name] for state in states], parts) for name in states[0]}


def disjoint_average(
    supervised: Sequence[State], unsupervised: Sequence[State], counts: Sequence[float]
) -> dict[str, Tensor]:
    """Half the plain mean of the supervised states, half the mean of the unsupervised ones weighted
    by ``counts``: ``A / 2 + B / 2``.

    Args:
        supervised, unsupervised: one of each per client.
        counts: n_k, of each client; FedLabel's are the labels that it accepted.

    Source: FedLabel, ICCV 2023. Used by: 081.
    """
    return average_states([average_states(supervised), average_states(unsupervised, counts)])


def _mean(values: Sequence[Tensor], parts: Sequence[float]) -> Tensor:
    mean = torch.stack([value.double() * part for value, part in zip(values, parts, strict=True)])
    summed = mean.sum(0)
    kind = values[0].dtype
    return (summed if kind.is_floating_point else summed.round()).to(kind)
