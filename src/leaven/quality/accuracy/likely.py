"""Between which limits an accuracy lies that a few held-out pictures tell."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

PSEUDO = 2
"""Right pictures, and as many wrong ones, that are thought to be there as well."""


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


def likely_range(counted: Tensor, right: Tensor, asked: Tensor) -> LikelyRange | None:
    """The range in which an accuracy lies nineteen times of twenty, where held-out pictures are drawn
    like those that it is asked of.

    A held-out picture i has ``n_ib`` predictions of confidence bin b, ``r_ib`` of them right; of all
    that is asked of, the share ``s_b`` is in bin b (of an empty bin it goes to the nearest one). The
    picture counts with the weight ``w_i = sum_b s_b n_ib / n_b``, of which ``e_i = sum_b s_b r_ib /
    n_b`` are right. Predictions of one picture are right or wrong together, so that the pictures,
    and not the predictions, are the sample. Two right and two wrong pictures of the mean weight
    ``v = sum_i w_i^2`` are added, as Agresti and Coull do::

        p = (sum_i e_i + 2 v) / (1 + 4 v)
        V = (sum_i (e_i - w_i p)^2 + 2 v^2 (p^2 + (1 - p)^2)) / (1 + 4 v)^2
        p - 2 sqrt(V) .. p + 2 sqrt(V)

    Of pictures with one prediction and one bin this is their interval, ``V = p (1 - p) / (m + 4)``.

    Args:
        counted, right: (m, B) of each held-out picture and bin of confidence, predictions and right
            ones.
        asked: (B,) predictions of each bin that the accuracy is asked of.

    Returns:
        None where nothing was counted or nothing is asked of.

    Raises:
        ValueError: shapes that do not belong together.

    Source: Agresti and Coull, "Approximate is better than exact", The American Statistician 1998;
    the variance is that of a ratio of sums over clusters (Cochran, Sampling techniques, 1977, 6.3).
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
    each = counted.new_zeros(len(asked)).index_add_(0, nearest, asked / asked.sum())
    each = each / total.clamp_min(1)
    weight, hit = counted @ each, right @ each
    mean = float(weight.square().sum())
    whole = 1 + 2 * PSEUDO * mean
    p = (float(hit.sum()) + PSEUDO * mean) / whole
    spread = float((hit - weight * p).square().sum())
    spread += PSEUDO * mean**2 * (p**2 + (1 - p) ** 2)
    reach = 2 * spread**0.5 / whole
    return LikelyRange(max(0.0, p - reach), min(1.0, p + reach), 1 / mean)
