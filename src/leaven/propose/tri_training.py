"""Tri-training: where two of three estimators agree, the third learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from leaven.models.estimators import estimator_votes, fit_estimator


@dataclass(frozen=True)
class TriTrained:
    """What tri-training leaves.

    Attributes:
        estimators: the three.
        votes: (n, K) float64: the share of the three that names each class. Where all three differ
            it is the mean of what they say.
        each: (3, n, K) what each of them says.
        updates: for every round, which of the three learnt something: three numbers of labels,
            0 where it did not.
    """

    estimators: tuple[Any, ...]
    votes: Tensor
    each: Tensor
    updates: tuple[tuple[int, int, int], ...]

    def say(self, rows: Tensor) -> Tensor:
        """(m, K) what the three together say of other rows (m, D)."""
        return _majority(_each(self.estimators, rows, self.votes.shape[1]))


def tri_train(
    make: Callable[[int], Any],
    rows: Tensor,
    labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    *,
    max_rounds: int = 100,
) -> TriTrained:
    """Three estimators; what two agree on is a label for the third, if that promises to help.

    Each starts from a bootstrap of the labelled rows (drawn again while it has a single class, where
    they have more), with ``e'_i = 0.5`` and ``l'_i = 0``. In a
    round, for each i and the other two, j and k:

    - ``e_i`` is the share of labelled rows that both get wrong, among those where they agree;
    - if ``e_i < e'_i``, ``L_i`` are the unlabelled rows where they agree; in the first such round
      ``l'_i = floor(e_i / (e'_i - e_i) + 1)``, which stays where i does not learn;
    - if ``l'_i < |L_i|`` and ``e_i |L_i| < e'_i l'_i``, i learns; else, if
      ``l'_i > e_i / (e'_i - e_i)``, so it does from ``ceil(e'_i l'_i / e_i - 1)`` rows of ``L_i``
      drawn by lot.

    Then each that learns is fitted to all labelled rows and ``L_i``, and ``e'_i = e_i``,
    ``l'_i = |L_i|``. It ends when a round changes nothing. Where j and k agree on no labelled row
    there is no sign that they are right, and ``e_i`` counts as 1.

    Args:
        make: number of the estimator, 0 to 2 -> a fresh one.
        rows: (n, D) on the CPU.
        labels: (n,) int64, -1 where unknown; at least one is known.
        num_classes: K.
        generator: of bootstraps and samples, on the CPU.
        max_rounds: at most so many; the error bound falls in each, so it ends before.

    Source: Zhou and Li, Tri-training: exploiting unlabeled data using three classifiers, IEEE
    TKDE 17(11), 2005.
    """
    known, unknown = (labels >= 0).nonzero().squeeze(1), (labels < 0).nonzero().squeeze(1)
    truth, pool = labels[known], rows[unknown]
    trio: list[Any] = []
    for number in range(3):
        some = known[_bootstrap(truth, generator)]
        trio.append(_fitted(make(number), rows[some], labels[some]))
    errors, sizes = [0.5] * 3, [0] * 3
    updates: list[tuple[int, int, int]] = []

    for _ in range(max_rounds):
        on_known = _classes(trio, rows[known], num_classes)
        on_pool = _classes(trio, pool, num_classes)
        lessons: dict[int, tuple[float, Tensor, Tensor]] = {}
        for number in range(3):
            first, second = (other for other in range(3) if other != number)
            error = _joint_error(on_known[first], on_known[second], truth)
            if error >= errors[number]:
                continue
            agreed = (on_pool[first] == on_pool[second]).nonzero().squeeze(1)
            sizes[number] = sizes[number] or _first_size(error, errors[number])
            chosen = _lesson(agreed, error, errors[number], sizes[number], generator)
            if len(chosen):
                lessons[number] = error, unknown[chosen], on_pool[first][chosen]
        if not lessons:
            break
        for number, (error, items, classes) in lessons.items():
            trio[number] = _fitted(
                make(number), torch.cat([rows[known], rows[items]]), torch.cat([truth, classes])
            )
            errors[number], sizes[number] = error, len(items)
        taught = [len(lessons[number][1]) if number in lessons else 0 for number in range(3)]
        updates.append((taught[0], taught[1], taught[2]))

    each = _each(trio, rows, num_classes)
    return TriTrained(tuple(trio), _majority(each), each, tuple(updates))


def _bootstrap(truth: Tensor, generator: torch.Generator) -> Tensor:
    """(l,) places among the labelled rows, drawn with repetition."""
    single = bool((truth == truth[0]).all())
    while True:
        some = torch.randint(len(truth), (len(truth),), generator=generator)
        if single or bool((truth[some] != truth[some[0]]).any()):
            return some


def _first_size(error: float, error_before: float) -> int:
    """``l'`` before anything was learnt: the least that leaves room for a lesson."""
    return math.floor(error / (error_before - error) + 1)


def _lesson(
    agreed: Tensor, error: float, error_before: float, size_before: int, generator: torch.Generator
) -> Tensor:
    """Which of the ``agreed`` rows (a,) are learnt; none where the noise they bring is too much."""
    ratio = error / (error_before - error)
    if size_before >= len(agreed):
        return agreed[:0]
    if error * len(agreed) < error_before * size_before:
        return agreed
    if size_before <= ratio:
        return agreed[:0]
    count = math.ceil(error_before * size_before / error - 1)
    return agreed[torch.randperm(len(agreed), generator=generator)[:count]]


def _joint_error(first: Tensor, second: Tensor, truth: Tensor) -> float:
    agree = first == second
    if not bool(agree.any()):
        return 1.0
    return float((first[agree] != truth[agree]).double().mean())


def _each(trio: Sequence[Any], rows: Tensor, num_classes: int) -> Tensor:
    """(3, n, K) what each says."""
    return torch.stack([estimator_votes(estimator, rows, num_classes) for estimator in trio])


def _classes(trio: Sequence[Any], rows: Tensor, num_classes: int) -> Tensor:
    """(3, n) the class that each names."""
    return _each(trio, rows, num_classes).argmax(2)


def _majority(each: Tensor) -> Tensor:
    shares = one_hot(each.argmax(2), each.shape[2]).double().mean(0)
    return torch.where(shares.amax(1, keepdim=True) > 0.5, shares, each.mean(0))


def _fitted(estimator: Any, rows: Tensor, labels: Tensor) -> Any:
    return fit_estimator(estimator, rows, labels, torch.ones(len(labels)))
