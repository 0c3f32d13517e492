"""A threshold per class where the scores of the last boxes fall into a low and a high group."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_LEAST = 4
"""Scores of a class without which nothing is fitted."""
_ITERATIONS, _TOLERANCE, _RIDGE = 100, 1e-3, 1e-6


class MixtureThresholds(nn.Module):
    """Remembers the last scores of each class and splits them by two Gaussians.

    The threshold of a class is ``two_gaussians_threshold`` of what its queue holds. Queues begin
    with zeros, which do not count.

    State: ``queue`` (K, length), the newest first.

    Args:
        num_classes: K.
        length: scores kept of each class.

    Raises:
        ValueError: no class, or no place for a score.

    Source: Wang et al., Consistent-Teacher, CVPR 2023. Used by: 119.
    """

    queue: Tensor

    def __init__(self, num_classes: int, length: int = 100) -> None:
        super().__init__()
        if min(num_classes, length) < 1:
            raise ValueError(f"{num_classes} classes with queues of {length} scores")
        self.register_buffer("queue", torch.zeros(num_classes, length, dtype=torch.float64))

    @torch.no_grad()
    def push(self, scores: Tensor, classes: Tensor) -> None:
        """Puts scores in front of the queues of their classes, in their order; the oldest go.

        With several processes every one needs the scores of all.

        Args:
            scores: (m,) in (0, 1].
            classes: (m,) int64; -1 for no score.
        """
        count, length = self.queue.shape
        member = classes[:, None] == torch.arange(count, device=classes.device)
        rank = (member.long().cumsum(0) - 1).gather(1, classes.clamp_min(0)[:, None])[:, 0]
        new = member.sum(0)[:, None]
        places = torch.arange(length, device=scores.device) - new
        shifted = self.queue.gather(1, places.clamp_min(0))
        front = torch.zeros_like(self.queue)
        fits = (classes >= 0) & (rank < length)
        front[classes[fits], rank[fits]] = scores[fits].to(front.dtype)
        self.queue.copy_(torch.where(places < 0, front, shifted))

    def thresholds(self, unknown: float = 0.0) -> Tensor:
        """(K,) float32, the threshold of each class; ``unknown`` where too little is known."""
        return two_gaussians_threshold(self.queue, self.queue > 0, unknown).float()


@torch.no_grad()
def two_gaussians_threshold(scores: Tensor, counted: Tensor, unknown: float = 0.0) -> Tensor:
    """Of each row the score at which its high group of scores is densest.

    A mixture of two Gaussians of one dimension is fitted to each row by EM, begun with the means at
    the least and the largest score, equal weights and variances of 1; it ends when the mean log
    likelihood rises by less than 1e-3, or after 100 iterations, and 1e-6 is added to each variance
    (scikit-learn's ``GaussianMixture``). A score belongs to the high group when that component makes
    it likelier, weights counted. Of these the threshold is the one with the largest likelihood under
    the whole mixture.

    Args:
        scores: (K, n).
        counted: (K, n) bool, the scores that count.
        unknown: the threshold of a row with fewer than 4 scores, or with no score in its high group.

    Returns:
        (K,) float64.

    Source: Wang et al., Consistent-Teacher, CVPR 2023. Used by: 119.
    """
    joint = _fitted(scores.double(), counted)
    likelihood = joint.logsumexp(2)
    high = counted & (joint[..., 1] > joint[..., 0])
    best = torch.where(high, likelihood, -torch.inf).argmax(1, keepdim=True)
    found = scores.double().gather(1, best)[:, 0]
    enough = (counted.sum(1) >= _LEAST) & high.any(1)
    return torch.where(enough, found, unknown)


def _fitted(scores: Tensor, counted: Tensor) -> Tensor:
    """(K, n, 2) the log density of each score under each component of its row, with its weight."""
    used = counted[..., None].double()
    number = counted.sum(1, keepdim=True).clamp_min(1)
    least = torch.where(counted, scores, torch.inf).amin(1)
    most = torch.where(counted, scores, -torch.inf).amax(1)
    empty = ~counted.any(1, keepdim=True)
    mean = torch.where(empty, 0.0, torch.stack([least, most], 1))
    variance, weight = torch.ones_like(mean), torch.full_like(mean, 0.5)
    before = torch.full_like(least, -torch.inf)
    going = torch.ones_like(empty)
    # A device is asked once per iteration: a dozen of them, where the most would be a hundred.
    for _ in range(_ITERATIONS):
        joint = _joint(scores, mean, variance, weight)
        total = joint.logsumexp(2)
        bound = (torch.where(counted, total, 0.0)).sum(1) / number[:, 0]
        share = (joint - total[..., None]).exp() * used
        mass = share.sum(1) + 10 * torch.finfo(torch.float64).eps
        new_mean = (share * scores[..., None]).sum(1) / mass
        spread = (share * (scores[..., None] - new_mean[:, None]) ** 2).sum(1) / mass + _RIDGE
        mean = torch.where(going, new_mean, mean)
        variance = torch.where(going, spread, variance)
        weight = torch.where(going, mass / mass.sum(1, keepdim=True), weight)
        going = going & ((bound - before).abs() >= _TOLERANCE)[:, None]
        before = bound
        if not bool(going.any()):
            break
    return _joint(scores, mean, variance, weight)


def _joint(scores: Tensor, mean: Tensor, variance: Tensor, weight: Tensor) -> Tensor:
    distance = (scores[..., None] - mean[:, None]) ** 2 / variance[:, None]
    density = -0.5 * (distance + variance.log()[:, None] + math.log(2 * math.pi))
    return density + weight.log()[:, None]
