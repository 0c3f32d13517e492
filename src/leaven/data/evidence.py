"""Evidence simulators: from known truth to the evidence a user would have.

A simulator takes an ``ImageSet`` and gives one with other ``labels``; ``truth`` stays as it was,
so that what is learnt from the weaker evidence can be measured. All randomness comes from the
seed that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from leaven.data.dataset import ImageSet
from leaven.errors import DataError
from leaven.labels.classes import UNKNOWN
from leaven.plain import brief, counted


def hide_labels(images: ImageSet, classes: Sequence[str], per_class: int, seed: int) -> ImageSet:
    """Keeps ``per_class`` labels of every class and hides the others.

    The kept items of a class are the first of a permutation that the seed and the class give, so
    that for one seed the items kept with a smaller ``per_class`` are among those kept with a
    larger one. The hidden labels become -1; items that had none stay without.

    Args:
        images: n items, of which those with a label count.
        classes: the K class names.
        per_class: labels to keep per class, at least 1.
        seed: which ones.

    Raises:
        DataError: a class has fewer labels than that.
    """
    counts = torch.bincount(images.labels[images.labels >= 0], minlength=len(classes))
    least = int(counts.argmin())
    if per_class < 1 or per_class > int(counts[least]):
        raise DataError(
            f"{counted(per_class, 'label')} per class {'is' if per_class == 1 else 'are'} wanted and "
            f"the class {brief(classes[least])} has {int(counts[least])} to learn from.",
            f"from 1 to {counted(int(counts[least]), 'label')} per class",
            "ask for fewer labels per class, or hold out a smaller share for the test.",
        )
    kept = torch.cat(
        [_chosen(images.labels == label, per_class, seed, label) for label in range(len(classes))]
    )
    labels = torch.full_like(images.labels, UNKNOWN)
    labels[kept] = images.labels[kept]
    return replace(images, labels=labels)


def long_tail(
    images: ImageSet,
    classes: Sequence[str],
    head: int,
    imbalance: float,
    seed: int,
    unlabelled_head: int | None = None,
    unlabelled_imbalance: float | None = None,
    reverse: bool = False,
) -> ImageSet:
    """Makes classes unequally frequent, each rarer than the one before it.

    Class k of K keeps ``N_k = floor(head * imbalance^(-k / (K - 1)))`` labels, at least 1. Of its
    other items ``M_k`` stay without their label, by the same formula with ``unlabelled_head`` and
    ``unlabelled_imbalance``; with ``reverse`` the classes in opposite order, so that the class with
    the fewest labels has the most items without. All other items are dropped.

    For one seed the kept items of a class are the first of the permutation of ``hide_labels``: the
    labelled ones, then the others.

    Args:
        images: n items, of which those with a label count; the others are dropped.
        classes: the K class names.
        head: labels of class 0.
        imbalance: labels of the first class per label of the last, >= 1.
        seed: which items.
        unlabelled_head: unlabelled items of the most frequent class; as ``head`` when None.
        unlabelled_imbalance: >= 1, 1 for equal shares; as ``imbalance`` when None.
        reverse: see above.

    Raises:
        DataError: an imbalance below 1, no head, or a class with too few items.
    """
    labelled = _profile(head, imbalance, len(classes))
    others = _profile(
        head if unlabelled_head is None else unlabelled_head,
        imbalance if unlabelled_imbalance is None else unlabelled_imbalance,
        len(classes),
    )
    if reverse:
        others.reverse()
    counts = torch.bincount(images.labels[images.labels >= 0], minlength=len(classes)).tolist()
    for label, (named, unnamed) in enumerate(zip(labelled, others, strict=True)):
        if named + unnamed > counts[label]:
            raise DataError(
                f"The class {brief(classes[label])} is to have {named} labelled and {unnamed} unlabelled "
                f"items and there are {counts[label]}.",
                "a class profile that the data can fill",
                "ask for a smaller head, or hold out a smaller share for the test.",
            )
    chosen = [
        _chosen(images.labels == label, labelled[label] + others[label], seed, label)
        for label in range(len(classes))
    ]
    labels = torch.full_like(images.labels, UNKNOWN)
    for items, named in zip(chosen, labelled, strict=True):
        labels[items[:named]] = images.labels[items[:named]]
    return replace(images, labels=labels).subset(torch.cat(chosen).sort().values)


def _profile(head: int, imbalance: float, count: int) -> list[int]:
    """Items per class of a long tail."""
    if head < 1 or imbalance < 1:
        raise DataError(
            f"A long tail with {head} items in its head and an imbalance of {imbalance}.",
            "at least one item, and an imbalance of at least 1",
            "correct the numbers.",
        )
    # A hair more, so that a power that is whole is not rounded down.
    exact = [head * imbalance ** (-label / max(1, count - 1)) for label in range(count)]
    return [max(1, math.floor(value + 1e-9)) for value in exact]


def flip_labels(
    images: ImageSet,
    classes: Sequence[str],
    rate: float,
    seed: int,
    kind: Literal["symmetric"] | Mapping[str, str] | Tensor = "symmetric",
) -> ImageSet:
    """Makes labels wrong, each with probability ``rate``, as people and machines err.

    ``symmetric`` gives a wrong label any other class, all alike; the true class is not among them,
    so ``rate`` is the share of wrong labels. A mapping of class names (``{"cat": "dog", "dog":
    "cat", "truck": "automobile"}``) gives it the class that it is taken for; classes that are not
    named stay right. A matrix ``P`` (K, K) gives a wrong label of class i the class j with
    probability ``P_ij``: rows that sum to 1, with 0 at i, or rows of 0 for classes that stay right.

    For one seed the items with wrong labels at a smaller rate are among those at a larger one, with
    the same wrong classes. Items without a label stay without.

    Args:
        images: n items, of which those with a label count.
        classes: the K class names, at least two.
        rate: in [0, 1].
        seed: which ones, and to what.
        kind: see above.

    Raises:
        DataError: a rate outside [0, 1], an unknown class, or a matrix that is not as above.

    Sources: Patrini et al., 2017 (arXiv:1609.03683); Han et al., Co-teaching, 2018.
    """
    if not 0 <= rate <= 1:
        raise DataError(f"The rate of wrong labels is {rate}.", "in [0, 1]", "correct the rate.")
    wrong = _wrong_classes(classes, kind)
    generator = torch.Generator().manual_seed(seed % 2**63)
    draw, place = torch.rand(2, len(images), generator=generator, dtype=torch.float64)
    rows = wrong[images.labels.clamp_min(0)].cumsum(1)
    chance = rows[:, -1]
    # The first class whose cumulated probability exceeds the draw; rows may end just below 1.
    taken = (rows <= (place * chance).unsqueeze(1)).sum(1)
    flipped = (images.labels >= 0) & (draw < rate) & (chance > 0)
    return replace(images, labels=torch.where(flipped, taken, images.labels))


def _wrong_classes(
    classes: Sequence[str], kind: Literal["symmetric"] | Mapping[str, str] | Tensor
) -> Tensor:
    """(K, K) float64: the class that a wrong label of each class gets."""
    count = len(classes)
    if isinstance(kind, Tensor):
        wrong = kind.detach().cpu().double()
        if not _is_wrong(wrong, count):
            raise DataError(
                f"The matrix of wrong labels, {tuple(kind.shape)}, does not fit {count} classes.",
                f"({count}, {count}) probabilities, 0 on the diagonal, in rows that sum to 1 or 0",
                "give each class the shares of what it is taken for.",
            )
        return wrong
    if isinstance(kind, Mapping):
        wrong = torch.zeros(count, count, dtype=torch.float64)
        for name, other in kind.items():
            unknown = [given for given in (name, other) if given not in classes]
            if unknown or name == other:
                raise DataError(
                    f"The wrong label of the class {name!r} is {other!r}.",
                    f"another of the classes {', '.join(classes)}",
                    "correct the mapping.",
                )
            wrong[classes.index(name), classes.index(other)] = 1
        return wrong
    if kind != "symmetric" or count < 2:
        raise DataError(
            f"Wrong labels of the kind {kind!r} among {count} classes.",
            "'symmetric', a mapping of class names or a matrix, and two classes or more",
            "correct the kind.",
        )
    return (1 - torch.eye(count, dtype=torch.float64)) / (count - 1)


def _is_wrong(wrong: Tensor, count: int) -> bool:
    if wrong.shape != (count, count) or not bool((wrong >= 0).all()) or bool(wrong.diag().any()):
        return False
    rows = wrong.sum(1)
    return bool(((rows - 1).abs().lt(1e-6) | (rows == 0)).all())


def _chosen(candidates: Tensor, count: int, seed: int, label: int) -> Tensor:
    items = candidates.nonzero().squeeze(1)
    generator = torch.Generator().manual_seed((seed * 1_000_003 + label) % 2**63)
    return items[torch.randperm(len(items), generator=generator)[:count]]
