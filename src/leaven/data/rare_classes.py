"""Batches in which pictures of rare classes come more often."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.data.dataset import ImageSet
from leaven.data.pixel_maps import PixelMaps
from leaven.data.streams import Stream

_BATCH = 16


def class_pixels(labels: PixelMaps, count: int) -> Tensor:
    """(n, K) int64, the pixels of each of ``count`` classes in each label map; 0 where nothing is
    said of a picture."""
    found = torch.zeros(len(labels), count, dtype=torch.int64)
    for start in range(0, len(labels), _BATCH):
        index = torch.arange(start, min(start + _BATCH, len(labels)))
        classes = labels[index].flatten(1).cpu()
        rows = torch.arange(len(index))[:, None] * (count + 1)
        counted = torch.bincount((rows + classes + 1).flatten(), minlength=len(index) * (count + 1))
        found[index] = counted.view(-1, count + 1)[:, 1:]
    return found


def rare_class_probs(pixels: Tensor, temperature: float) -> Tensor:
    """How often each class is drawn: the rarer, the more often.

    ``P(c) = exp((1 - f_c) / temperature) / sum over c' of exp((1 - f_c') / temperature)`` with
    ``f_c`` the share of class c in all pixels.

    Args:
        pixels: (K,) how many there are of each class, >= 0; a class of none is not drawn.
        temperature: > 0; the larger, the more equal.

    Returns:
        (K,) float64 that sum to 1.

    Raises:
        ValueError: no class has a pixel.

    Source: Hoyer et al., DAFormer, CVPR 2022. Used by: 093.
    """
    if not bool((pixels > 0).any()):
        raise ValueError("no class has a pixel")
    share = pixels.double() / pixels.sum()
    return torch.where(pixels > 0, (1 - share) / temperature, -torch.inf).softmax(0)


class RareClassStream(Stream[PixelMaps]):
    """Batches of pictures that are drawn for a class each, with replacement.

    A class is drawn with ``rare_class_probs``, then one of its pictures, all alike: those with at
    least ``least`` pixels of it, else those with the most. The items of a batch depend on the seed
    and its position alone. An epoch is as many items as there are pictures.

    Args:
        images: the labelled set to draw from.
        size: items per (global) batch, at least 1.
        classes: K, of the label maps.
        temperature: of the classes, > 0.
        least: pixels from which a picture shows a class.

    Raises:
        ValueError: no label map says a class.

    Source: Hoyer et al., DAFormer, CVPR 2022; there also views are cut until they show the class.
    Used by: 093.
    """

    def __init__(
        self,
        images: ImageSet[PixelMaps],
        size: int,
        *,
        classes: int,
        temperature: float,
        least: int = 1,
    ) -> None:
        super().__init__(images, size)
        self._pixels = class_pixels(images.labels, classes)
        self.probs = rare_class_probs(self._pixels.sum(0), temperature)
        enough = self._pixels.amax(0).clamp(1, max(1, least))
        # (K, n): whether a picture is drawn for a class.
        self._shows = (self._pixels >= enough).t()

    def _items(self, position: int) -> Tensor:
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + position) % 2**63)
        shown = self._shows[:, self.index]
        probs = self.probs * shown.any(1)
        drawn = torch.multinomial(probs, self.size, replacement=True, generator=generator)
        items = torch.multinomial(shown[drawn].double(), 1, generator=generator).squeeze(1)
        return self.index[items][self._rank :: self._world]
