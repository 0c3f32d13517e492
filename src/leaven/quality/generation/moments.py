"""How far apart two sets of pictures are, by the mean and the covariance of their features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Mean (D,) and covariance (D, D) of features, float64."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor) -> Moments:
    """Of features (n, D); the covariance is divided by n - 1.

    Raises:
        ValueError: fewer than two rows.
    """
    if len(features) < 2:
        raise ValueError(f"{len(features)} rows have no covariance; 2 are the fewest")
    values = features.double()
    mean = values.mean(0)
    centred = values - mean
    return Moments(mean, centred.T @ centred / (len(values) - 1))


def frechet_distance(real: Moments, made: Moments) -> float:
    """The Fréchet distance of two normal distributions; FID where features are Inception's.

    ``|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))``. The trace of the root is the sum of the roots of the
    eigenvalues of ``C^(1/2) C' C^(1/2)``, which is symmetric: with fewer pictures than features
    covariances have no full rank, where a general root of ``C C'`` (``scipy.linalg.sqrtm``) is
    complex, or not finite.

    Sets of few pictures look farther apart than they are: compare distances of equally many.

    Source: Heusel et al., GANs trained by a two time-scale update rule, NeurIPS 2017. Used by: 001,
    044.
    """
    half = _root(real.covariance)
    crossed = torch.linalg.eigvalsh(half @ made.covariance @ half).clamp_min(0).sqrt().sum()
    apart = (real.mean - made.mean).square().sum()
    distance = apart + real.covariance.trace() + made.covariance.trace() - 2 * crossed
    return max(float(distance), 0.0)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
