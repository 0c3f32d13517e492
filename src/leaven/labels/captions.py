"""Captions: what a picture shows, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.labels.classes import Source


@dataclass(frozen=True)
class Captions:
    """What is said of ``n`` pictures in words.

    Attributes:
        texts: n captions; an empty one where nothing is said.
        source: (n,) int64, a ``Source``: a person, a model, or nobody where nothing is said.
    """

    texts: tuple[str, ...]
    source: Tensor

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.source):
            raise ValueError(f"{len(self.texts)} captions, {len(self.source)} sources")

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: Tensor) -> list[str]:
        """The captions of the pictures at ``index`` (b,)."""
        return [self.texts[row] for row in index.tolist()]

    @property
    def known(self) -> Tensor:
        """(n,) bool: something is said of the picture."""
        return torch.tensor([bool(text) for text in self.texts], dtype=torch.bool)

    def select(self, index: Tensor) -> Captions:
        """What is said of the pictures at ``index`` (int64 positions)."""
        return Captions(tuple(self[index]), self.source[index.to(self.source.device)])

    def to(self, device: torch.device) -> Captions:
        """The same captions; words are on no device."""
        return self

    def cpu(self) -> Captions:
        """The same captions."""
        return self

    @classmethod
    def of(cls, texts: Sequence[str], source: Source = Source.PERSON) -> Captions:
        """Captions of one source; nobody's where they are empty."""
        said = torch.tensor([bool(text) for text in texts], dtype=torch.bool)
        return cls(tuple(texts), torch.where(said, int(source), int(Source.NOBODY)))

    @classmethod
    def nothing(cls, count: int) -> Captions:
        """``count`` pictures of which nothing is said."""
        return cls.of([""] * count)
