"""Label maps as evidence: a class per pixel, kept like pictures are."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        tags: (n, K) bool, the classes that each picture is said to show, whether its map is known
            or not; None where nobody said so. A background that needs no tag may lack its own.
    """

    maps: Pixels
    known: Tensor
    tags: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.maps) != len(self.known):
            raise ValueError(f"{len(self.maps)} maps, {len(self.known)} known flags")
        if self.tags is not None and (self.tags.ndim != 2 or len(self.tags) != len(self.known)):
            raise ValueError(
                f"tags are (n, K) of {len(self.known)} pictures, not {tuple(self.tags.shape)}"
            )

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
        return replace(self, known=self.known & kept)

    def select(self, index: Tensor) -> PixelMaps:
        """What is said of the pictures at ``index`` (int64 positions)."""
        known = self.known[index.to(self.known.device)]
        tags = None if self.tags is None else self.tags[index.to(self.tags.device)]
        return PixelMaps(self.maps.subset(index), known, tags)

    def to(self, device: torch.device) -> PixelMaps:
        """The same maps, on ``device`` where they are kept in memory."""
        return replace(self, maps=self.maps.to(device))

    def with_tags(self, tags: Tensor) -> PixelMaps:
        """The same maps of pictures whose classes are known by ``tags`` (n, K) bool."""
        return replace(self, tags=tags)

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
