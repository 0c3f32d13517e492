"""Given classes of pixels that are probably wrong: confident learning, a batch of maps at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leaven.quality.audit.label_errors import cleanlab

LEAST_SHARE = 0.005
"""A region of fewer pixels of its picture is a border drawn a little differently."""

TEMPERATURE = 0.1
"""Of the soft minimum over the pixels of a picture."""

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Gives, as often as it is called, the same batches of labels (b, H, W) int64, -1 unknown, and
out-of-sample probabilities (b, K, H, W)."""


@dataclass(frozen=True)
class MapFault:
    """Pixels of one picture that were given one class and look like another.

    Attributes:
        picture: its number.
        score: in [0, 1], higher is surer: one less the soft minimum of the probabilities of the
            given classes over the pixels of the picture.
        given, suggested: the classes.
        share: of the known pixels of the picture, in [0, 1].
        box: x1, y1, x2, y2 around these pixels, with x2 and y2 exclusive.
    """

    picture: int
    score: float
    given: int
    suggested: int
    share: float
    box: tuple[float, float, float, float]


def pixel_errors(batches: Batches, num_classes: int) -> list[MapFault]:
    """The regions whose given class is probably wrong, at most one row per picture and pair of
    classes.

    cleanlab's batched confident learning: a first pass finds the confident threshold of each class,
    a second one scores each pixel and estimates how many are wrong; these are the ones with the
    lowest scores where the likeliest class is not the given one. Unknown pixels take no part. A
    pair of classes of less than 0.5 % of its picture is left out.

    Args:
        batches: see ``Batches``; called twice, and once more to name the regions.
        num_classes: K.

    Returns:
        the faults, the surest first.

    Raises:
        MissingExtraError: without cleanlab.

    Sources: Northcutt et al., Confident learning, JAIR 2021; Lad and Mueller, Estimating label
    quality and errors in semantic segmentation data via any model, 2023 (the soft minimum).
    """
    batched = cleanlab("cleanlab.experimental.label_issues_batched")
    inspector = batched.LabelInspector(num_class=num_classes, verbose=False, n_jobs=1)
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for labels, probs in batches():
            given, rows = _known(labels, probs)
            if len(given):
                inspector.update_confident_thresholds(given, rows)
                count += len(given)
        if not count:
            return []
        for labels, probs in batches():
            given, rows = _known(labels, probs)
            if len(given):
                inspector.score_label_quality(given, rows)
        wrong = np.zeros(count, dtype=bool)
        wrong[np.asarray(inspector.get_label_issues(), dtype=np.int64)] = True
    faults: list[MapFault] = []
    first, picture = 0, 0
    for labels, probs in batches():
        known = labels >= 0
        own = torch.zeros_like(known)
        total = int(known.sum())
        own[known] = torch.from_numpy(wrong[first : first + total])
        for one in range(len(labels)):
            faults += _of_picture(picture + one, labels[one], probs[one], own[one])
        first, picture = first + total, picture + len(labels)
    return sorted(faults, key=lambda fault: (-fault.score, fault.picture, -fault.share))


def soft_minimum(values: Tensor, temperature: float = TEMPERATURE) -> float:
    """``sum_i s_i v_i`` with ``s = softmax((1 - v) / temperature)``: between mean and minimum."""
    return float((torch.softmax((1 - values) / temperature, 0) * values).sum())


def _known(labels: Tensor, probs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Classes and distributions of the known pixels, (m,) and (m, K)."""
    known = labels >= 0
    return labels[known].numpy(), probs.movedim(1, -1)[known].double().numpy()


def _of_picture(picture: int, labels: Tensor, probs: Tensor, wrong: Tensor) -> Iterator[MapFault]:
    likeliest = probs.argmax(0)
    wrong = wrong & (likeliest != labels)
    known = labels >= 0
    if not bool(wrong.any()):
        return
    own = probs.gather(0, labels.clamp_min(0)[None])[0][known]
    score = 1 - soft_minimum(own)
    pairs, number = torch.stack([labels[wrong], likeliest[wrong]]).unique(
        dim=1, return_inverse=True
    )
    rows, columns = wrong.nonzero().unbind(1)
    total = int(known.sum())
    for index, (given, suggested) in enumerate(pairs.T.tolist()):
        y, x = rows[number == index], columns[number == index]
        share = len(y) / total
        if share < LEAST_SHARE:
            continue
        box = (float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))
        yield MapFault(picture, score, given, suggested, share, box)
