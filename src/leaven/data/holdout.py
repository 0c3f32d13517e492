"""Holding items out, stratified by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from leaven.errors import DataError
from leaven.plain import brief, counted


def hold_out(
    labels: Tensor, share: float, seed: int, classes: Sequence[str], purpose: str
) -> tuple[Tensor, Tensor]:
    """Positions of the rest and of the held-out items, each sorted; classes in equal shares.

    The choice is that of scikit-learn's ``train_test_split`` with ``stratify=labels``,
    ``test_size=share`` and ``random_state=seed``, so it can be repeated outside of leaven.

    Args:
        labels: (n,) int64 in 0..K-1.
        share: of the items to hold out, in (0, 1).
        seed: which ones.
        classes: the K class names.
        purpose: "test" or "val", for the message.

    Raises:
        DataError: some class would have no item on one of the two sides.
    """
    from sklearn.model_selection import train_test_split

    counts = torch.bincount(labels, minlength=len(classes))
    least = int(counts.argmin())
    try:
        rest, held = train_test_split(
            np.arange(len(labels)), test_size=share, random_state=seed, stratify=labels.numpy()
        )
    except ValueError as error:
        raise _too_few(labels, share, classes, least, purpose) from error
    rest, held = torch.from_numpy(np.sort(rest)), torch.from_numpy(np.sort(held))
    for side in (rest, held):
        present = torch.bincount(labels[side], minlength=len(classes)) > 0
        if not bool(present.all()):
            raise _too_few(labels, share, classes, int(present.int().argmin()), purpose)
    return rest, held


def _too_few(
    labels: Tensor, share: float, classes: Sequence[str], label: int, purpose: str
) -> DataError:
    return DataError(
        f"Holding out {share:g} of {counted(len(labels), 'label')} as {purpose} leaves the class "
        f"{brief(classes[label])}, which has {int((labels == label).sum())}, without a label on one "
        "side.",
        f"at least one label of each of the {len(classes)} classes to learn from and one in "
        f"the {purpose} set",
        f"label more pictures of that class, or change the {purpose} share.",
    )
