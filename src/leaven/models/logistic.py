"""Multinomial logistic regression on features: the optimum itself, not a run of steps towards it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ITERATIONS = 1000


def logistic_weights(rows: Tensor, labels: Tensor, num_classes: int, strength: float) -> Tensor:
    """The weights W of least ``mean_i CE(W x_i, y_i) + strength / (2 n) |W|^2``, without intercept.

    The objective is strictly convex: the minimum is unique, also with two classes, and with classes
    that no row is of. It is found by L-BFGS in float64.

    Args:
        rows: (n, D) x, at least one.
        labels: (n,) int64 y, in 0..K-1.
        num_classes: K.
        strength: of the penalty, above 0. What it weighs against the sum of the losses, so that its
            share falls with the number of rows.

    Returns:
        (K, D) float32, on the device of ``rows``.
    """
    inputs = rows.double()
    weights = inputs.new_zeros(num_classes, inputs.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=_ITERATIONS,
        tolerance_grad=1e-8,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        penalty = strength / (2 * len(inputs)) * weights.square().sum()
        value = F.cross_entropy(inputs @ weights.T, labels) + penalty
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(objective)
    return weights.detach().float()
