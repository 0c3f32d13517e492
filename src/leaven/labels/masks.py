"""Binary masks as COCO run lengths: small in memory, the same on disk, exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco
from torch import Tensor
from torch.nn.functional import interpolate, pad

AT_ONCE = 64
"""Masks that are decoded together."""


@dataclass(frozen=True, slots=True)
class Masks:
    """``m`` binary masks, each in the size of its own picture.

    Attributes:
        runs: m compressed COCO run lengths (columns first, from a run of zeros).
        sizes: (m, 2) int64, height and width.
    """

    runs: Sequence[bytes]
    sizes: Tensor

    def __post_init__(self) -> None:
        if self.sizes.shape != (len(self.runs), 2):
            raise ValueError(f"{len(self.runs)} masks with sizes {tuple(self.sizes.shape)}")

    def __len__(self) -> int:
        return len(self.runs)

    def select(self, index: Tensor) -> Masks:
        """The masks at ``index`` (int64 positions or a bool mask)."""
        if index.dtype == torch.bool:
            index = index.nonzero().squeeze(1)
        index = index.cpu()
        return Masks([self.runs[i] for i in index.tolist()], self.sizes[index])

    def dense(self) -> Tensor:
        """(m, H, W) bool; all masks must have one size.

        Raises:
            ValueError: the sizes differ.
        """
        if len(self) == 0:
            return torch.zeros(0, 0, 0, dtype=torch.bool)
        if bool((self.sizes != self.sizes[0]).any()):
            raise ValueError("masks of different sizes have no common array")
        stacked = coco.decode(self.coco())
        return torch.from_numpy(stacked).permute(2, 0, 1).bool()

    def one(self, number: int) -> Tensor:
        """(H, W) bool, the mask ``number`` in its own size."""
        one = {"size": self.sizes[number].tolist(), "counts": self.runs[number]}
        return torch.from_numpy(coco.decode(one)).bool()

    def area(self) -> Tensor:
        """(m,) int64, pixels of each mask."""
        masks = self.coco()
        # pycocotools overflows on more than 255 masks at once with numpy 2.
        parts = [coco.area(masks[begin : begin + 255]) for begin in range(0, len(masks), 255)]
        return torch.from_numpy(np.concatenate([np.zeros(0), *parts]).astype(np.int64))

    def boxes(self) -> Tensor:
        """(m, 4) float32, the tight x1, y1, x2, y2 of each mask, where x2 and y2 are the first
        column and row after it; zeros for an empty mask."""
        if len(self) == 0:
            return torch.zeros(0, 4)
        found = torch.from_numpy(np.asarray(coco.toBbox(self.coco()), dtype=np.float32))
        found = found.reshape(-1, 4)
        return torch.cat([found[:, :2], found[:, :2] + found[:, 2:]], 1)

    def coco(self) -> list[dict[str, Any]]:
        """The masks as pycocotools takes them: ``{"size": [h, w], "counts": bytes}``."""
        return [
            {"size": size, "counts": runs}
            for size, runs in zip(self.sizes.tolist(), self.runs, strict=True)
        ]

    @classmethod
    def from_dense(cls, masks: Tensor) -> Masks:
        """From (m, H, W) bool."""
        count, height, width = masks.shape
        sizes = torch.tensor([[height, width]]).expand(count, 2).contiguous()
        if count == 0:
            return cls([], sizes)
        columns = np.asfortranarray(masks.cpu().permute(1, 2, 0).to(torch.uint8).numpy())
        return cls([one["counts"] for one in coco.encode(columns)], sizes)

    @classmethod
    def from_map(cls, instances: Tensor) -> tuple[Masks, Tensor]:
        """The masks of a map of instance numbers (H, W), 0 for none, and the (m,) numbers."""
        numbers = instances.unique()
        numbers = numbers[numbers > 0]
        return cls.from_dense(instances[None] == numbers[:, None, None]), numbers

    @classmethod
    def joined(cls, several: Sequence[Masks]) -> Masks:
        """One after the other."""
        sizes = [masks.sizes for masks in several] or [torch.zeros(0, 2, dtype=torch.int64)]
        return cls([run for masks in several for run in masks.runs], torch.cat(sizes))

    def resized(self, sizes: Tensor) -> Masks:
        """Each mask stretched to its height and width in ``sizes`` (m, 2), by nearest pixel."""

        def stretch(dense: Tensor, size: tuple[int, int]) -> Tensor:
            return interpolate(dense[None].to(torch.uint8), size, mode="nearest-exact")[0].bool()

        return self._changed(sizes, stretch)

    def padded(self, shape: tuple[int, int]) -> Masks:
        """Each mask in the upper left of a picture of that height and width, at least its own."""

        def frame(dense: Tensor, size: tuple[int, int]) -> Tensor:
            return pad(dense, (0, size[1] - dense.shape[2], 0, size[0] - dense.shape[1]))

        return self._changed(torch.tensor([shape]).expand(len(self), 2), frame)

    def cut(self, sizes: Tensor) -> Masks:
        """The upper left of each mask, in its height and width of ``sizes`` (m, 2)."""
        return self._changed(sizes, lambda dense, size: dense[:, : size[0], : size[1]])

    def _changed(self, sizes: Tensor, change: Callable[[Tensor, tuple[int, int]], Tensor]) -> Masks:
        """The masks in other ``sizes`` (m, 2); ``change`` takes many (n, H, W) of one size to one
        size."""
        wanted = sizes.to(self.sizes)
        if bool((wanted == self.sizes).all()):
            return self
        kinds, kind = torch.cat([self.sizes, wanted], 1).unique(dim=0, return_inverse=True)
        runs: list[bytes] = [b""] * len(self)
        for number, (_, _, height, width) in enumerate(kinds.tolist()):
            for rows in (kind == number).nonzero().squeeze(1).split(AT_ONCE):
                made = Masks.from_dense(change(self.select(rows).dense(), (height, width)))
                for row, run in zip(rows.tolist(), made.runs, strict=True):
                    runs[row] = run
        return Masks(runs, wanted.clone())
