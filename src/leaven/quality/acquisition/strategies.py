"""The ways to choose what to label next, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from leaven.draws import Draws
from leaven.errors import ConfigError, nearest
from leaven.quality.acquisition.directions import directions
from leaven.quality.acquisition.gradient_seeding import gradient_seeding
from leaven.quality.acquisition.k_center import k_center
from leaven.quality.acquisition.label_next import worth_labelling
from leaven.quality.acquisition.novelty import candidates, novel
from leaven.quality.acquisition.promise_gain import promise_gain
from leaven.quality.acquisition.typical import typical

AUTO = "auto"

_AT_ONCE = 8192
"""Items that are compared at once with those that were labelled since."""

FEW, MANY = 2, 50
"""``auto`` takes typical items with fewer labelled ones per class than ``FEW``, and others with
``MANY`` and more."""

SURE = 0.8
"""Between the two it takes typical ones while the mean confidence of the model is below this."""


@dataclass(frozen=True)
class Pool:
    """What is known of n items that a person could label next.

    Attributes:
        value: (n,) by name, each 0 or more: how unsure the model is (``margin``, ``entropy``,
            ``least-confidence``), and where they were found ``disagreement`` and, of pictures with
            many labels each, ``promise``.
        probs: (n, K) where an item has one label, else None.
        features: (n, D), or None.
        covered: (m, D) features of the labelled items, or None.
        told: (m,) bool, the rows of ``covered`` that the model has not learned from yet: items that
            were labelled since. What resembles them is worth less to strategies that ask the model.
        labelled: how many items are labelled.
        classes: K.
        target: the accuracy of the promise.
    """

    value: dict[str, Tensor]
    probs: Tensor | None = None
    features: Tensor | None = None
    covered: Tensor | None = None
    told: Tensor | None = None
    labelled: int = 0
    classes: int = 1
    target: float = 0.95

    def __len__(self) -> int:
        return len(next(iter(self.value.values())))

    @property
    def unit(self) -> Tensor:
        """(n, D) unit vectors; without features and probabilities all items are unlike."""
        if self.features is not None:
            return directions(self.features, self.features)
        return torch.zeros(len(self), 1) if self.probs is None else directions(self.probs, None)

    @property
    def novelty(self) -> Tensor:
        """(n,) one less ``max(0, cos)`` to the most similar item of ``told``."""
        if self.features is None or self.covered is None or self.told is None:
            return torch.ones(len(self))
        centre = self.features.float().mean(0)
        new = functional.normalize(self.covered[self.told].float() - centre, dim=1)
        if len(new) == 0:
            return torch.ones(len(self))
        alike = [(part @ new.T).amax(1) for part in self.unit.split(_AT_ONCE)]
        return 1 - torch.cat(alike).clamp(0, 1)


Chosen = tuple[Tensor, Tensor]
"""index (m,) int64 in order of worth, and score (m,)."""


@dataclass(frozen=True)
class Strategy:
    """A way to choose.

    Attributes:
        about: what it takes, in words.
        choose: pool, count, draws -> index and score.
        needs_features: nothing can be chosen without them.
        needs_probs: an item must have one label.
        uses_features: they make it better.
    """

    about: str
    choose: Callable[[Pool, int, Draws], Chosen]
    needs_features: bool = False
    needs_probs: bool = False
    uses_features: bool = False

    @property
    def asks_pictures(self) -> bool:
        """Whether it gains from features, which are read from pictures."""
        return self.needs_features or self.uses_features


def _highest(name: str) -> Callable[[Pool, int, Draws], Chosen]:
    def choose(pool: Pool, count: int, draws: Draws) -> Chosen:
        score, index = pool.value[name].sort(descending=True, stable=True)
        return index[:count], score[:count]

    return choose


def _random(pool: Pool, count: int, draws: Draws) -> Chosen:
    index = draws.host().permutation(len(pool))[:count]
    return index, torch.ones(len(index))


def _typical(pool: Pool, count: int, draws: Draws) -> Chosen:
    assert pool.features is not None
    seed = int(draws.host().integers(1, high=2**31 - 1))
    return typical(pool.features, count, pool.covered, seed)


def _k_center(pool: Pool, count: int, draws: Draws) -> Chosen:
    assert pool.features is not None
    return k_center(pool.features, count, pool.covered)


def _badge(pool: Pool, count: int, draws: Draws) -> Chosen:
    assert pool.features is not None and pool.probs is not None
    return gradient_seeding(pool.probs, pool.features, count, draws)


def _uncertain_diverse(pool: Pool, count: int, draws: Draws) -> Chosen:
    return worth_labelling(pool.value["margin"], pool.unit, count, pool.novelty)


def _disagreement(pool: Pool, count: int, draws: Draws) -> Chosen:
    return _best(pool, pool.value["disagreement"], count)


def _promise(pool: Pool, count: int, draws: Draws) -> Chosen:
    """Of the most unsure items those with the most to gain."""
    if pool.probs is None:
        return _best(pool, pool.value["promise"], count)
    unit, novelty = pool.unit, pool.novelty
    rows = candidates(pool.value["margin"], count)
    gain = promise_gain(pool.probs, unit, pool.target, rows)
    index, score = novel(gain, unit[rows], count, novelty[rows])
    return rows[index], score


def _best(pool: Pool, value: Tensor, count: int) -> Chosen:
    """The items of most worth, unlike each other."""
    unit, novelty = pool.unit, pool.novelty
    rows = candidates(value, count)
    index, score = novel(value[rows], unit[rows], count, novelty[rows])
    return rows[index], score


STRATEGIES: dict[str, Strategy] = {
    "typical": Strategy(
        "the most typical item of each group in which nothing is labelled yet",
        _typical,
        needs_features=True,
    ),
    "uncertain-diverse": Strategy(
        "unsure items that resemble many others, and not each other",
        _uncertain_diverse,
        uses_features=True,
    ),
    "badge": Strategy(
        "items whose labels would move the network far, each in another direction",
        _badge,
        needs_features=True,
        needs_probs=True,
    ),
    "k-center": Strategy(
        "items far from everything that is labelled", _k_center, needs_features=True
    ),
    "margin": Strategy("the two likeliest classes are nearly even", _highest("margin")),
    "entropy": Strategy("the most even over all classes", _highest("entropy")),
    "least-confidence": Strategy("the likeliest class is not likely", _highest("least-confidence")),
    "disagreement": Strategy(
        "the last two rounds, or two runs, say different things",
        _disagreement,
        uses_features=True,
    ),
    "promise": Strategy(
        "a label there lets most other labels be accepted", _promise, uses_features=True
    ),
    "random": Strategy("at random, to measure with", _random),
}


def find_strategy(name: str) -> Strategy:
    """Raises:
    ConfigError: there is none of that name.
    """
    if name not in STRATEGIES:
        raise ConfigError(
            f"There is no strategy {name!r}.",
            ", ".join([AUTO, *STRATEGIES]),
            nearest(name, [AUTO, *STRATEGIES]),
        )
    return STRATEGIES[name]


def choose_auto(pool: Pool, count: int, draws: Draws) -> tuple[str, Chosen]:
    """What ``auto`` chooses, and the name of the strategy that it is.

    ``typical`` while fewer than two items per class are labelled, and up to fifty while the model's
    mean confidence is below 0.8: a model that has learned little does not know what it does not know,
    and typical items teach it more than those it is unsure of (Hacohen et al., ICML 2022; the
    numbers are leaven's own, found on two seeds of digits and CIFAR-10). Then ``promise`` where an
    item has one label. ``uncertain-diverse`` takes the place of ``promise`` where an item has many
    labels or the model takes all labels for good enough, and of both where there are no features.
    """
    if pool.features is not None:
        if _has_learned_little(pool):
            return "typical", _typical(pool, count, draws)
        if pool.probs is not None:
            index, gain = _promise(pool, count, draws)
            if bool((gain > 0).any()):
                return "promise", (index, gain)
    return "uncertain-diverse", _uncertain_diverse(pool, count, draws)


def _has_learned_little(pool: Pool) -> bool:
    per_class = pool.labelled / max(1, pool.classes)
    if pool.probs is None or not FEW <= per_class < MANY:
        return per_class < FEW
    return float(pool.probs.amax(1).mean()) < SURE


def choose(pool: Pool, count: int, strategy: str = AUTO, *, draws: Draws) -> Chosen:
    """Which items to label next.

    Args:
        pool: n items.
        count: how many are wanted; at most n are given.
        strategy: a name of ``STRATEGIES``, or ``"auto"``; see ``choose_auto``.
        draws: for the strategies that draw.

    Returns:
        ``index`` (m,) int64, different items in order of worth, and ``score`` (m,), whose unit is
        that of the strategy.

    Raises:
        ConfigError: no such strategy, or the pool lacks what it needs.
    """
    count = max(0, min(count, len(pool)))
    if strategy == AUTO:
        return choose_auto(pool, count, draws)[1]
    found = find_strategy(strategy)
    if found.needs_features and pool.features is None:
        raise ConfigError(
            f"The strategy {strategy} compares features, and there are none.",
            "the features of the items",
            "give them, or take another strategy: margin, entropy or least-confidence",
        )
    if found.needs_probs and pool.probs is None:
        raise ConfigError(
            f"The strategy {strategy} is for items with one label each.",
            "probabilities of one label for each item",
            "take uncertain-diverse, typical, k-center or an uncertainty",
        )
    if strategy == "disagreement" and "disagreement" not in pool.value:
        raise ConfigError(
            "The strategy disagreement compares two rounds or two models, and there is one.",
            "a second opinion",
            "name another run with --against RUN, or take another strategy",
        )
    return found.choose(pool, count, draws)
