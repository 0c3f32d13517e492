"""Between which limits an accuracy lies that a few held-out pictures tell."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import t as student
from torch import Tensor

SURE = 0.95
"""How often the range holds the accuracy."""

ALIKE, PRIOR = 0.25, 4
"""The correlation of the predictions of a picture that is believed in beforehand, and as much as so
many pictures would tell of it."""


@dataclass(frozen=True, slots=True)
class LikelyRange:
    """Limits of an accuracy.

    Attributes:
        low, high: in [0, 1].
        pictures: how many held-out pictures tell it, if all told equally much.
    """

    low: float
    high: float
    pictures: float

    def around(self, accuracy: float) -> LikelyRange:
        """Widened, where needed, to hold an estimate that was made in another way."""
        return LikelyRange(min(self.low, accuracy), max(self.high, accuracy), self.pictures)


def likely_range(
    counted: Tensor, right: Tensor, asked: Tensor, pictures: int | None = None
) -> LikelyRange | None:
    """The range in which an accuracy lies nineteen times of twenty, where held-out pictures are drawn
    like those that it is asked of.

    A held-out picture i has ``n_ib`` predictions of confidence bin b, ``r_ib`` of them right; of all
    that is asked of, the share ``s_b`` is in bin b (of an empty bin it goes to the nearest one). The
    picture counts with the weight ``w_i = sum_b s_b n_ib / n_b``, of which ``e_i = sum_b s_b r_ib /
    n_b`` are right; ``p = sum_i e_i``. Predictions of one picture are right or wrong together to some
    part, their correlation ``rho``. With ``v = sum_i w_i^2``, one over the number of pictures that
    count, and ``u = sum_b s_b^2 / n_b``, one over that of predictions, they tell as much as ``n``
    pictures of one prediction each, less by what is left to chance in the M pictures and N predictions
    that are asked of::

        1 / n = rho (v + 1 / M) + (1 - rho) (u + 1 / N)
        p (1 - p) (rho v + (1 - rho) u) = sum_i (e_i - w_i p)^2 / (1 - v)     # gives rho, in [0, 1]

    ``rho`` is drawn towards 0.25 by as much as four pictures would tell: few ones cannot. The range is
    that of Agresti and Coull with the quantile ``z`` of Student's t with ``1 / v + 3`` degrees of
    freedom, ``q = (n p + z^2 / 2) / (n + z^2)``::

        q - z sqrt(q (1 - q) / (n + z^2)) .. q + z sqrt(q (1 - q) / (n + z^2))

    Args:
        counted, right: (m, B) of each held-out picture and bin of confidence, predictions and right
            ones.
        asked: (B,) predictions of each bin that the accuracy is asked of.
        pictures: M, that these are in; None where the accuracy is asked of all there could be.

    Returns:
        None where nothing was counted or nothing is asked of.

    Raises:
        ValueError: shapes that do not belong together.

    Sources: Agresti and Coull, "Approximate is better than exact", The American Statistician 1998; the
    effect of clusters: Kish, Survey sampling, 1965.
    """
    if counted.shape != right.shape or asked.shape != counted.shape[1:]:
        raise ValueError(
            f"{tuple(counted.shape)} counted, {tuple(right.shape)} right, {tuple(asked.shape)} asked"
        )
    counted, right, asked = counted.double(), right.double(), asked.double()
    total = counted.sum(0)
    filled = (total > 0).nonzero().squeeze(1)
    if len(filled) == 0 or not bool(asked.any()):
        return None
    bins = counted.new_tensor(range(len(asked)))
    nearest = filled[(bins[:, None] - filled).abs().argmin(1)]
    share = counted.new_zeros(len(asked)).index_add_(0, nearest, asked / asked.sum())
    each = share / total.clamp_min(1)
    weight, hit = counted @ each, right @ each
    p = float(hit.sum())
    v, u = float(weight.square().sum()), float((share * each).sum())

    def between(rho: float) -> float:
        told = rho * v + (1 - rho) * u
        return told if pictures is None else told + rho / pictures + (1 - rho) / float(asked.sum())

    first = _agresti_coull(p, 1 / u, 2.0)[0]
    spread = float((hit - weight * p).square().sum()) / max(1 - v, v)
    seen = (spread / (first * (1 - first)) - u) / (v - u) if v > u else 1.0
    rho = (min(1.0, max(0.0, seen)) + ALIKE * PRIOR * v) / (1 + PRIOR * v)
    z = float(student.ppf((1 + SURE) / 2, 1 / v + PRIOR - 1))
    middle, reach = _agresti_coull(p, 1 / between(rho), z)
    return LikelyRange(max(0.0, middle - reach), min(1.0, middle + reach), 1 / v)


def _agresti_coull(p: float, n: float, z: float) -> tuple[float, float]:
    """The middle of the interval, and how far it reaches to either side."""
    middle = (n * p + z**2 / 2) / (n + z**2)
    return middle, z * (middle * (1 - middle) / (n + z**2)) ** 0.5
