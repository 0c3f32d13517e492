"""Items that are uncertain, typical, and unlike each other."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.quality.acquisition.directions import directions
from leaven.quality.acquisition.novelty import candidates, novel
from leaven.quality.acquisition.uncertainty import margin

REFERENCES = 2000
"""Density is measured against at most so many items, evenly spaced over the data set."""


def label_next(probs: Tensor, features: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """The items whose label would help most: uncertain, typical, and unlike each other.

    ``score_i = uncertainty_i * density_i * novelty_i``, each in [0, 1]:

    - uncertainty ``1 - (p_first - p_second)``, the margin between the two likeliest classes;
    - density: the mean similarity ``max(0, cos)`` to the other items, so that outliers, which
      teach about nothing but themselves, come late; divided by the largest;
    - novelty: ``1 - max(0, cos)`` to the most similar item picked before, 1 for the first.

    Items are picked greedily; only the most uncertain ones are candidates.

    Args:
        probs: (n, K) probabilities of the items without a label.
        features: (n, D) features of the items; without them ``sqrt(probs)`` is used, whose cosine
            is the Bhattacharyya coefficient.
        count: how many are wanted.

    Returns:
        ``index`` (m,) int64 in order of worth and ``score`` (m,) in [0, 1], never rising, with
        ``m = min(count, n)``.

    Sources: Scheffer et al., "Active hidden Markov models for information extraction", 2001
    (margin); Settles and Craven, "An analysis of active learning strategies for sequence labeling
    tasks", EMNLP 2008 (information density); Sener and Savarese, "Active learning for
    convolutional neural networks: a core-set approach", ICLR 2018 (greedy k-center).
    """
    return worth_labelling(margin(probs.float()), directions(probs, features), count)


def worth_labelling(
    value: Tensor, unit: Tensor, count: int, novelty: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """As ``label_next``, by any worth ``value`` (n,) of 0 or more in the place of the uncertainty,
    and unit vectors (n, D); ``novelty`` (n,) in [0, 1] is that of the items before the first pick,
    1 each when None."""
    if min(count, len(value)) <= 0:
        return torch.zeros(0, dtype=torch.long, device=value.device), value.new_zeros(0)
    novelty = torch.ones_like(value) if novelty is None else novelty
    chosen = candidates(value * novelty, count)
    own = unit[chosen]
    index, score = novel(value[chosen] * _density(own, unit), own, count, novelty[chosen])
    return chosen[index], score


def _density(chosen: Tensor, everything: Tensor) -> Tensor:
    stride = -(-len(everything) // REFERENCES)
    density = (chosen @ everything[::stride].T).clamp_min(0).mean(1)
    most = density.max()
    # Items that cannot be told apart, or resemble none, are equally dense.
    return torch.where(most > 0, density / most.clamp_min(torch.finfo(density.dtype).tiny), 1.0)
