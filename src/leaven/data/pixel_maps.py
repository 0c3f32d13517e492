"""Label maps as evidence: a class per pixel, kept like pictures are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.data.pixels import MemoryPixels, Pixels
from leaven.labels.classes import UNKNOWN
from leaven.labels.pixels import VOID


@dataclass(frozen=True)
class PixelMaps:
    """What is said of the pixels of ``n`` pictures.

    Attributes:
        maps: n maps of one channel in the shape of the pictures, uint8 with ``VOID`` (255) where
            nothing is said; in memory, or decoded when they are wanted.
        known: (n,) bool, whether anything is said of the picture; the map of one that is not known
            is never given out.
    """

    maps: Pixels
    known: Tensor

    def __post_init__(self) -> None:
        if len(self.maps) != len(self.known):
            raise ValueError(f"{len(self.maps)} maps, {len(self.known)} known flags")

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, index: Tensor) -> Tensor:
        """(b, H, W) int64, the classes of the pictures at ``index`` (b,); -1 where unknown."""
        stored = self.stored(index).long()
        return torch.where(stored == VOID, UNKNOWN, stored)

    def stored(self, index: Tensor) -> Tensor:
        """(b, H, W) uint8, the classes of the pictures at ``index`` (b,), ``VOID`` where unknown."""
        stored = self.maps.batch(index).squeeze(1)
        known = self.known[index.to(self.known.device)].to(stored.device)
        return torch.where(known[:, None, None], stored, VOID)

    def hidden(self, kept: Tensor) -> PixelMaps:
        """The same maps, of which only those of the pictures ``kept`` (n,) bool are known."""
        return PixelMaps(self.maps, self.known & kept)

    def select(self, index: Tensor) -> PixelMaps:
        """What is said of the pictures at ``index`` (int64 positions)."""
        return PixelMaps(self.maps.subset(index), self.known[index.to(self.known.device)])

    def to(self, device: torch.device) -> PixelMaps:
        """The same maps, on ``device`` where they are kept in memory."""
        return PixelMaps(self.maps.to(device), self.known)

    @classmethod
    def from_tensor(cls, maps: Tensor, known: Tensor | None = None) -> PixelMaps:
        """From (n, H, W) uint8; a picture is known where one of its pixels is, when not said."""
        if known is None:
            known = (maps != VOID).flatten(1).any(1)
        return cls(MemoryPixels(maps.unsqueeze(1)), known)

    @classmethod
    def nothing(cls, count: int, height: int, width: int) -> PixelMaps:
        """``count`` pictures of which nothing is known; one void map serves them all."""
        void = torch.full((1, 1, height, width), VOID, dtype=torch.uint8)
        rows = torch.zeros(count, dtype=torch.int64)
        return cls(MemoryPixels(void, rows), torch.zeros(count, dtype=torch.bool))
