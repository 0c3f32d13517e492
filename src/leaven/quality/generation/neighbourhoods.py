"""Whether made pictures are good and many-sided, by the neighbourhoods of features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_AT_ONCE = 1024


class Coverage(NamedTuple):
    """Shares in [0, 1]; ``density`` may be above 1.

    Attributes:
        precision: of made pictures that lie among real ones.
        recall: of real pictures that lie among made ones.
        density: how many real neighbourhoods a made picture lies in, over k.
        coverage: of real pictures with a made one in their neighbourhood.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhood_scores(real: Tensor, made: Tensor, k: int = 3) -> Coverage:
    """Precision, recall, density and coverage of features (n, D) and (m, D).

    The neighbourhood of a row is the ball around it up to its k-th nearest other row of the same set,
    its border included. Precision is the share of made rows in a real neighbourhood, recall that of
    real rows in a made one; density is the mean over made rows of the number of real neighbourhoods
    they are in, over k, which one far-off real picture with a large ball does not lift; coverage is
    the share of real neighbourhoods with a made row.

    Args:
        real, made: (n, D), (m, D).
        k: less than n and m.

    Raises:
        ValueError: too few rows.

    Source: Kynkäänniemi et al., Improved precision and recall, NeurIPS 2019 (k = 3); Naeem et al.,
    Reliable fidelity and diversity metrics, ICML 2020 (k = 5). Used by: 001, 044.
    """
    if k < 1 or min(len(real), len(made)) <= k:
        raise ValueError(f"{len(real)} and {len(made)} rows have no {k}-th other neighbour")
    real, made = real.double(), made.double()
    of_real, of_made = radii(real, k), radii(made, k)
    among_real = torch.zeros(len(made), dtype=torch.int64, device=real.device)
    among_made = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros_like(among_made)
    for start in range(0, len(made), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        distances = _distances(made[part], real)
        inside = distances <= of_real
        among_real[part] = inside.sum(1)
        covered |= inside.any(0)
        among_made |= (distances <= of_made[part, None]).any(0)
    return Coverage(
        precision=float((among_real > 0).double().mean()),
        recall=float(among_made.double().mean()),
        density=float(among_real.double().mean() / k),
        coverage=float(covered.double().mean()),
    )


def radii(features: Tensor, k: int) -> Tensor:
    """(n,) float64, the distance of each row of (n, D) to its k-th nearest other row."""
    values = features.double()
    found = []
    for start in range(0, len(values), _AT_ONCE):
        distances = _distances(values[start : start + _AT_ONCE], values)
        rows = torch.arange(len(distances), device=values.device)
        distances[rows, rows + start] = torch.inf
        found.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(found)


def _distances(one: Tensor, other: Tensor) -> Tensor:
    # Not by products of rows: equal rows are to have the distance 0.
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
