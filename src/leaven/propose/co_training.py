"""Co-training: two estimators that see different features label items for each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leaven.models.estimators import estimator_votes, fit_estimator


@dataclass(frozen=True)
class CoTrained:
    """What co-training leaves.

    Attributes:
        estimators: the two of the last fit, one per view.
        votes: (n, K) float64, both together, of all rows.
        each: (2, n, K) what each of them says.
        labels: (n,) what both learnt from; -1 for rows that were never labelled.
        rounds: (s,) rows that each round labelled.
        views: the columns that each of them sees.
    """

    estimators: tuple[Any, Any]
    votes: Tensor
    each: Tensor
    labels: Tensor
    rounds: tuple[Tensor, ...]
    views: tuple[Tensor, Tensor]

    def say(self, rows: Tensor) -> Tensor:
        """(m, K) what both together say of other rows (m, D)."""
        return _product(_each(self.estimators, rows, self.views, self.votes.shape[1]))


def co_train(
    make: Callable[[], Any],
    rows: Tensor,
    labels: Tensor,
    num_classes: int,
    views: tuple[Tensor, Tensor],
    choose: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    *,
    pool: int = 75,
    max_rounds: int = 30,
) -> CoTrained:
    """Two estimators, each on its own features, teach each other.

    In each round both are fitted to all labels so far, each on the columns of its view. Each
    chooses items of a small pool and names their classes; these become labels for both, and the
    pool is filled up again by lot from the other unlabelled rows. Of an item that both choose and
    name differently, the class of the larger vote is kept (the paper does not say; of equal votes
    that of the first). It ends after ``max_rounds``, or when nothing is chosen.

    Together they say ``v(x, k) ~ v_1(x, k) v_2(x, k)``, as independent views do.

    Args:
        make: gives a fresh estimator; see ``leaven.models.estimators``.
        rows: (n, D) on the CPU.
        labels: (n,) int64, -1 where unknown; at least one is known.
        num_classes: K.
        views: the columns (int64) of each view.
        choose: votes (u, K) of the pool -> trust (u,), 0 leaves an item; the paper's is
            ``leaven.select.top_per_class``.
        generator: of the pool, on the CPU.
        pool: size of the pool.
        max_rounds: at most so many.

    Source: Blum and Mitchell, Combining labeled and unlabeled data with co-training, COLT 1998.
    """
    labels = labels.clone()
    unknown = (labels < 0).nonzero().squeeze(1)
    waiting = unknown[torch.randperm(len(unknown), generator=generator)]
    items, waiting = waiting[:pool], waiting[pool:]
    rounds: list[Tensor] = []

    for _ in range(max_rounds):
        if len(items) == 0:
            break
        pair = _pair(make, rows, labels, views)
        said = _each(pair, rows[items], views, num_classes)
        chosen = torch.stack([choose(votes) for votes in said]) > 0
        # Among the two, the one that chose the item and is surer of it.
        confidence, classes = said.max(2)
        who = torch.where(chosen, confidence, -1.0).argmax(0)
        taken = chosen.any(0)
        if not bool(taken.any()):
            break
        labels[items[taken]] = classes.gather(0, who.unsqueeze(0)).squeeze(0)[taken]
        rounds.append(items[taken])
        missing = int(taken.sum())
        items, waiting = torch.cat([items[~taken], waiting[:missing]]), waiting[missing:]

    pair = _pair(make, rows, labels, views)
    each = _each(pair, rows, views, num_classes)
    return CoTrained(pair, _product(each), each, labels, tuple(rounds), views)


def _pair(
    make: Callable[[], Any], rows: Tensor, labels: Tensor, views: tuple[Tensor, Tensor]
) -> tuple[Any, Any]:
    seen = labels >= 0
    weight = torch.ones(int(seen.sum()))
    first, second = (
        fit_estimator(make(), rows[seen][:, view], labels[seen], weight) for view in views
    )
    return first, second


def _each(
    pair: tuple[Any, Any], rows: Tensor, views: tuple[Tensor, Tensor], num_classes: int
) -> Tensor:
    """(2, n, K) what each says of its view of the rows."""
    return torch.stack(
        [
            estimator_votes(estimator, rows[:, view], num_classes)
            for estimator, view in zip(pair, views, strict=True)
        ]
    )


def _product(each: Tensor) -> Tensor:
    """(n, K) the normalised product of votes (2, n, K); their mean where the product is 0."""
    product = each.prod(0)
    product = torch.where(product.sum(1, keepdim=True) > 0, product, each.mean(0))
    return product / product.sum(1, keepdim=True)
