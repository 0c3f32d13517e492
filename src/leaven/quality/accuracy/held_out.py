"""Labelled items that the model was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a model says of labelled items of the kind that it was made for.

    Attributes:
        probs: (m, K) rows that sum to 1.
        truth: (m,) int64 classes.

    Raises:
        ValueError: no items, as many rows as there are not classes, or a class that is not known.
    """

    probs: Tensor
    truth: Tensor

    def __post_init__(self) -> None:
        if len(self.truth) == 0 or len(self.probs) != len(self.truth):
            raise ValueError(
                f"{len(self.probs)} rows of probabilities and {len(self.truth)} classes; "
                "equally many are needed, and one or more"
            )
        if bool((self.truth < 0).any()):
            raise ValueError("the class of every held-out item has to be known")

    @property
    def right(self) -> Tensor:
        """(m,) bool: the most probable class is the true one."""
        return self.probs.argmax(1) == self.truth

    @property
    def accuracy(self) -> float:
        """The share of right ones."""
        return float(self.right.double().mean())
