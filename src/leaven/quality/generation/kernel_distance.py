"""How far apart two sets of pictures are, by a kernel of their features: without bias for few."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

DEGREE = 3


class KernelDistance(NamedTuple):
    """The mean of the estimates of the subsets, and their standard deviation."""

    mean: float
    std: float


def kernel_distance(
    real: Tensor,
    made: Tensor,
    generator: torch.Generator,
    *,
    subsets: int = 100,
    size: int = 1000,
) -> KernelDistance:
    """KID, where features are Inception's: the squared maximum mean discrepancy of features.

    The kernel is ``(x . y / D + 1)^3``; for each of ``subsets`` so many rows of both are drawn
    without replacement, and the unbiased estimate of ``squared_discrepancy`` taken. It may be below
    0, and is 0 in the mean where both sets are of one distribution.

    Args:
        real, made: (n, D) and (m, D) features.
        generator: of the subsets.
        subsets: how many.
        size: of a subset; the smaller set where that has fewer rows.

    Raises:
        ValueError: fewer than two rows.

    Source: Bińkowski et al., Demystifying MMD GANs, ICLR 2018. Used by: 001, 044.
    """
    rows = min(size, len(real), len(made))
    estimates = torch.stack(
        [
            squared_discrepancy(
                real[_some(real, rows, generator)], made[_some(made, rows, generator)]
            )
            for _ in range(subsets)
        ]
    )
    return KernelDistance(float(estimates.mean()), float(estimates.std(correction=0)))


def squared_discrepancy(real: Tensor, made: Tensor) -> Tensor:
    """The unbiased estimate of the squared maximum mean discrepancy, 0-d float64.

    ``sum_(i != j) k(x_i, x_j) / (n (n - 1)) + sum_(i != j) k(y_i, y_j) / (m (m - 1))
    - 2 sum_ij k(x_i, y_j) / (n m)``.

    Raises:
        ValueError: fewer than two rows.
    """
    if min(len(real), len(made)) < 2:
        raise ValueError(f"{len(real)} and {len(made)} rows; 2 of each are the fewest")
    x, y = real.double(), made.double()
    return _among(x) + _among(y) - 2 * _kernel(x, y).mean()


def _among(rows: Tensor) -> Tensor:
    kernel = _kernel(rows, rows)
    return (kernel.sum() - kernel.trace()) / (len(rows) * (len(rows) - 1))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** DEGREE


def _some(features: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(features), generator=generator)[:rows].to(features.device)
