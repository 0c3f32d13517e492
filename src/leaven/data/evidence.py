"""Evidence simulators: from known truth to the evidence a user would have.

A simulator takes an ``ImageSet`` and gives one with other ``labels``; ``truth`` stays as it was,
so that what is learnt from the weaker evidence can be measured. All randomness comes from the
seed that is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from leaven.data.dataset import ImageSet
from leaven.errors import DataError
from leaven.labels.classes import UNKNOWN


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
            f"{per_class} labels per class are wanted and the class {classes[least]!r} has "
            f"{int(counts[least])} to learn from.",
            f"1 to {int(counts[least])} labels per class",
            "ask for fewer labels per class, or hold out a smaller share for the test.",
        )
    kept = torch.cat(
        [_chosen(images.labels == label, per_class, seed, label) for label in range(len(classes))]
    )
    labels = torch.full_like(images.labels, UNKNOWN)
    labels[kept] = images.labels[kept]
    return replace(images, labels=labels)


def _chosen(candidates: Tensor, count: int, seed: int, label: int) -> Tensor:
    items = candidates.nonzero().squeeze(1)
    generator = torch.Generator().manual_seed((seed * 1_000_003 + label) % 2**63)
    return items[torch.randperm(len(items), generator=generator)[:count]]
