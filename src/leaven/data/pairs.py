"""Pictures as evidence: what a picture is to become."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leaven.data.pixels import MemoryPixels, Pixels


@dataclass(frozen=True)
class PairedPictures:
    """For each of ``n`` pictures another one that shows the same in another way.

    Attributes:
        pixels: n pictures; their channels may differ from those of the first ones, their sides do
            not.
        known: (n,) bool, whether there is another picture; one that is not known is never given out.
        of_grey: whether the first pictures are these without their colours, see
            ``leaven.cielab.same_lightness``.
    """

    pixels: Pixels
    known: Tensor
    of_grey: bool = False

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.known):
            raise ValueError(f"{len(self.pixels)} pictures, {len(self.known)} known flags")

    def __len__(self) -> int:
        return len(self.known)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of a picture."""
        return self.pixels.shape

    def __getitem__(self, index: Tensor) -> Tensor:
        """The pictures at ``index`` (b,) as uint8 (b, C, H, W), black where there is none."""
        pictures = self.pixels.batch(index)
        known = self.known[index.to(self.known.device)].to(pictures.device)
        return pictures * known[:, None, None, None]

    def hidden(self, kept: Tensor) -> PairedPictures:
        """The same pictures, of which only those at ``kept`` (n,) bool are known."""
        return replace(self, known=self.known & kept)

    def select(self, index: Tensor) -> PairedPictures:
        """The pictures at ``index`` (int64 positions)."""
        known = self.known[index.to(self.known.device)]
        return replace(self, pixels=self.pixels.subset(index), known=known)

    def to(self, device: torch.device) -> PairedPictures:
        """The same pictures, on ``device`` where they are kept in memory."""
        return replace(self, pixels=self.pixels.to(device))

    def cpu(self) -> PairedPictures:
        """The same pictures in main memory."""
        return self.to(torch.device("cpu"))

    @classmethod
    def from_tensor(cls, pictures: Tensor, known: Tensor | None = None) -> PairedPictures:
        """From (n, C, H, W) uint8; all known when not said."""
        if known is None:
            known = torch.ones(len(pictures), dtype=torch.bool)
        return cls(MemoryPixels(pictures), known)
