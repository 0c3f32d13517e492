"""What the evidence is like: how much of it, how even, how noisy, how foreign the unlabelled items."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST_KNOWN = 20
"""Known items from which something can be said of others."""


def imbalance(labels: Tensor, num_classes: int) -> float:
    """How many times more labels the largest class has than the smallest.

    ``max_k n_k / max(1, min_k n_k)``

    Args:
        labels: (n,) classes; negative ones do not count.
        num_classes: K.

    Returns:
        At least 1 where there is a label, else 0.
    """
    counts = torch.bincount(labels[labels >= 0], minlength=num_classes)
    return float(counts.max() / counts.min().clamp_min(1))


def label_noise(probs: Tensor, labels: Tensor, share: float = 0.2) -> tuple[float, float]:
    """The share of wrong labels, told from what a model says of items it was not trained on.

    Among the items of which the model is surest, ``share`` of those it gives each class, a label
    that differs is more likely wrong than the model: a hard task with right labels agrees there, an
    easy task with wrong labels does not. ``noise = mean_k 1/|S_k| sum_{i in S_k} 1[y_i != k]``,
    ``S_k`` the surest ``share`` of the items predicted as ``k``.

    People err on hard items, which are not among the surest: then this is a lower bound.

    Args:
        probs: (n, K), out of sample, for example by cross-validation.
        labels: (n,) classes as given, all known.
        share: in (0, 1].

    Returns:
        the estimate and its standard error, both in [0, 1]; (0, 1) where no class has three
        surest items.

    Source: after the confident learning of Northcutt et al., JAIR 2021, cut to one number.
    """
    confidence, predicted = probs.max(1)
    rates, variance = [], 0.0
    for number in predicted.unique().tolist():
        members = (predicted == number).nonzero().squeeze(1)
        count = math.floor(share * len(members))
        if count < 3:
            continue
        surest = members[confidence[members].topk(count).indices]
        rate = float((labels[surest] != number).float().mean())
        rates.append(rate)
        variance += max(rate * (1 - rate), 1 / count) / count
    if not rates:
        return 0.0, 1.0
    return sum(rates) / len(rates), math.sqrt(variance) / len(rates)


def foreign_share(known: Tensor, mixed: Tensor, fraction: float = 1 / 3) -> float:
    """The least share of a mixture that is not of the known kind, told from scores.

    With ``c = fraction * median(known)``, and ``u`` and ``v`` the shares of the known kind and of the
    mixture that score less, ``(v - u) / (1 - u)``: the share of the mixture that is foreign and
    scores below ``c``.

    Args:
        known: (n,) scores of items of the known kind, at least 0, higher for more typical ones; NaN
            is left out.
        mixed: (m,) scores of the mixture, by the same rule.
        fraction: in (0, 1), of the known median.

    Returns:
        In [0, 1]; 0 where there are fewer than 20 known items, of which chance decides ``u``.

    Source: the mixture proportion of Garg et al., Mixture proportion estimation and PU learning,
    NeurIPS 2021, at one place.
    """
    known = known[~known.isnan()]
    if len(known) < LEAST_KNOWN or len(mixed) == 0:
        return 0.0
    cut = fraction * known.median()
    usual, found = (float((scores < cut).float().mean()) for scores in (known, mixed))
    return max(0.0, (found - usual) / (1 - usual))
