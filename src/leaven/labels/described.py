"""Captions with what else is known of a picture: its class, and whether it is a good one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.labels.captions import Captions
from leaven.labels.classes import UNKNOWN, Source


@dataclass(frozen=True)
class Described(Captions):
    """``Captions`` of ``n`` pictures, of which some have a class and some are marked as good.

    Attributes:
        classes: (n,) int64, -1 where it is not known.
        good: (n,) bool, the pictures that people would like to see more of.
    """

    classes: Tensor
    good: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.texts) == len(self.classes) == len(self.good):
            raise ValueError(
                f"{len(self.texts)} captions, {len(self.classes)} classes, {len(self.good)} marks"
            )

    def select(self, index: Tensor) -> Described:
        index = index.cpu()
        said = super().select(index)
        return Described(said.texts, said.source, self.classes[index], self.good[index])

    def to(self, device: torch.device) -> Described:
        return self

    def cpu(self) -> Described:
        return self

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        source: Source = Source.PERSON,
        classes: Tensor | None = None,
        good: Tensor | None = None,
    ) -> Described:
        """Captions of one source; nobody's where they are empty, no class and not good if not said."""
        said = Captions.of(texts, source)
        count = len(said)
        if classes is None:
            classes = torch.full((count,), UNKNOWN, dtype=torch.int64)
        if good is None:
            good = torch.zeros(count, dtype=torch.bool)
        return cls(said.texts, said.source, classes, good)
