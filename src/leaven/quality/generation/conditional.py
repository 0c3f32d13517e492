"""Whether made pictures show what they were to show, as a classifier of real ones sees it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from leaven.models.classifier import Classifier


class ConditionalAccuracy(NamedTuple):
    """How often a classifier sees what was asked for.

    Attributes:
        accuracy: share of pictures in [0, 1].
        per_class: (K,) float64, NaN of a class that was not asked for.
    """

    accuracy: float
    per_class: Tensor


@torch.no_grad()
def conditional_accuracy(
    pictures: Tensor, wanted: Tensor, classifier: Classifier, batch: int = 256
) -> ConditionalAccuracy:
    """The share of made pictures in which a classifier sees the class that was asked for.

    What a classifier of real pictures gets right of them is the most that means anything; where a
    generator learns what fools this classifier, the figure says nothing.

    Args:
        pictures: (n, C, H, W) uint8, of the shape that the classifier takes. For pictures of several
            things, cut one out for each.
        wanted: (n,) int64 classes.
        classifier: trained on real pictures, in eval mode.

    Raises:
        ValueError: there is no picture, or another number of classes.

    Source: Ravuri and Vinyals, Classification accuracy score, NeurIPS 2019, the other way round.
    Used by: 001, 044.
    """
    if len(pictures) == 0 or len(pictures) != len(wanted):
        raise ValueError(f"{len(pictures)} pictures, {len(wanted)} classes")
    device = classifier.mean.device
    seen = torch.cat(
        [classifier(part.to(device)).argmax(1).cpu() for part in pictures.split(batch)]
    )
    return agreement(seen, wanted.cpu(), classifier.num_classes)


def agreement(seen: Tensor, wanted: Tensor, num_classes: int) -> ConditionalAccuracy:
    """The same of classes (n,) that something has seen, such as an SVM."""
    right = (seen == wanted).double()
    asked = torch.bincount(wanted, minlength=num_classes)
    hits = torch.bincount(wanted, weights=right, minlength=num_classes)
    return ConditionalAccuracy(float(right.mean()), hits / asked)
