"""Pictures that are made from others when they are wanted: painted label maps, greys, edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leaven.data.formats.masks import palette
from leaven.data.pixels import Pixels
from leaven.labels.classes import UNKNOWN
from leaven.labels.pixels import VOID

_NEAREST_AT_ONCE = 8


@dataclass(frozen=True)
class ChangedPixels:
    """``n`` pictures, each made from one of ``base``.

    Attributes:
        base: what they are made from.
        change: uint8 (b, C, H, W) of ``base`` to uint8 (b, ``channels``, H, W), on any device.
        channels: of what is made.
    """

    base: Pixels
    change: Callable[[Tensor], Tensor]
    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, *self.base.shape[1:]

    def __len__(self) -> int:
        return len(self.base)

    def batch(self, index: Tensor) -> Tensor:
        """The pictures at ``index`` (b,) as uint8 (b, C, H, W)."""
        return self.change(self.base.batch(index))

    def subset(self, index: Tensor) -> ChangedPixels:
        return replace(self, base=self.base.subset(index))

    def to(self, device: torch.device) -> ChangedPixels:
        return replace(self, base=self.base.to(device))


def painted(stored: Tensor) -> Tensor:
    """Label maps as pictures: (B, 1, H, W) uint8 classes to (B, 3, H, W) in the colours of VOC.

    What is void (255) has the colour that VOC's palette has for it.
    """
    colours = torch.from_numpy(palette()).to(stored.device)
    return colours[stored[:, 0].long()].permute(0, 3, 1, 2).contiguous()


def classes_of_colours(pictures: Tensor, num_classes: int) -> Tensor:
    """The way back of ``painted``: (B, 3, H, W) uint8 to int64 (B, H, W), the class of the nearest
    colour, -1 where that is the one of void."""
    numbers = torch.tensor([*range(num_classes), VOID], device=pictures.device)
    colours = torch.from_numpy(palette()).to(pictures.device)[numbers].float()
    classes = torch.where(numbers == VOID, UNKNOWN, numbers)
    found = [
        classes[torch.cdist(part.permute(0, 2, 3, 1).flatten(1, 2).float(), colours).argmin(2)]
        for part in pictures.split(_NEAREST_AT_ONCE)
    ]
    return torch.cat(found).view(-1, *pictures.shape[2:]) if found else classes.new_empty(0)
