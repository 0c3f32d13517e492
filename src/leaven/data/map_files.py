"""Label maps in the shape of the pictures: in memory where they fit, else decoded when wanted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from leaven.data.annotated_listing import LabelMaps
from leaven.data.faults import Faults
from leaven.data.files import pool
from leaven.data.pixels import MemoryPixels, Pixels
from leaven.data.placement import placed_map
from leaven.labels.pixels import VOID

LOOK = 256
"""Maps that are looked through at once."""


def map_pixels(
    maps: LabelMaps, kept: Tensor, known: Tensor, shape: tuple[int, int], limit: int
) -> Pixels:
    """The maps of the items ``kept`` (n,) of ``maps`` in ``shape``, as uint8 (n, 1, H, W).

    Args:
        maps: the maps as they were found.
        kept: (n,) int64.
        known: (n,) bool; one void map stands for all that are not known.
        shape: (H, W) of the pictures.
        limit: bytes that decoded maps may take.
    """
    files = FileMaps(maps, kept, shape)
    said = known.nonzero().squeeze(1)
    if (len(said) + 1) * shape[0] * shape[1] > limit:
        return files
    stored = torch.cat([torch.full((1, 1, *shape), VOID, dtype=torch.uint8), files.batch(said)])
    rows = torch.zeros(len(kept), dtype=torch.int64)
    rows[said] = 1 + torch.arange(len(said))
    return MemoryPixels(stored, rows)


def looked_through(maps: Pixels, known: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the maps in memory say nothing, and which of the 255 numbers is in one of them.

    Args:
        maps: n maps.
        known: (n,) bool, which of them to look at.

    Returns:
        ``(n,)`` bool, the known maps that are void throughout; ``(255,)`` bool by number. Of maps
        that are decoded when they are wanted, and where none is known: none of them, and all numbers.
    """
    void = torch.zeros(len(maps), dtype=torch.bool)
    if not isinstance(maps, MemoryPixels) or not bool(known.any()):
        return void, torch.ones(VOID, dtype=torch.bool)
    counts = torch.zeros(VOID + 1, dtype=torch.int64)
    for items in known.nonzero().squeeze(1).split(LOOK):
        stored = maps.batch(items).flatten(1)
        void[items] = (stored == VOID).all(1)
        counts += torch.bincount(stored.flatten(), minlength=VOID + 1)
    return void, counts[:VOID] > 0


class FoundMaps:
    """Label maps in the sizes of their pictures, as they were found or drawn.

    Args:
        places: n lists of maps, and which of theirs each is.
    """

    def __init__(self, places: Sequence[tuple[LabelMaps, int]]) -> None:
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Tensor | None:
        """(h, w) uint8; None where nothing was said of the picture.

        Raises:
            DataError: it cannot be read.
        """
        maps, place = self._places[index]
        found = maps[place]
        return None if found is None else torch.from_numpy(found)

    def select(self, index: Tensor) -> FoundMaps:
        return FoundMaps([self._places[item] for item in index.tolist()])

    @classmethod
    def joined(cls, several: Sequence[FoundMaps]) -> FoundMaps:
        return cls([place for one in several for place in one._places])

    @classmethod
    def of(cls, maps: LabelMaps, items: Tensor | None = None) -> FoundMaps:
        """``maps``, or the ``items`` (n,) of them."""
        wanted = range(len(maps)) if items is None else items.tolist()
        return cls([(maps, item) for item in wanted])


class FileMaps:
    """Label maps that are decoded when they are wanted, by the threads that decode pictures.

    Args:
        maps: the maps as they were found.
        items: (n,) int64, which of ``maps`` these are.
        shape: (H, W) that every map is brought to.
    """

    def __init__(self, maps: LabelMaps, items: Tensor, shape: tuple[int, int]) -> None:
        self.maps, self.items, self._shape = maps, items, shape

    @property
    def shape(self) -> tuple[int, ...]:
        return 1, *self._shape

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, index: Tensor) -> Tensor:
        """(b, 1, H, W) uint8, the maps at ``index`` (b,).

        Raises:
            DataError: some of them cannot be read.
        """
        stored = torch.full((len(index), 1, *self._shape), VOID, dtype=torch.uint8)

        def fill(row: int, item: int) -> None:
            found = self.maps[item]
            if found is not None:
                stored[row, 0] = placed_map(torch.from_numpy(found), self._shape)

        wanted = self.items[index.cpu()].tolist()
        faults = Faults()
        for filled in [pool().submit(fill, row, item) for row, item in enumerate(wanted)]:
            with faults:
                filled.result()
        faults.check()
        return stored

    def subset(self, index: Tensor) -> FileMaps:
        return FileMaps(self.maps, self.items[index.cpu()], self._shape)

    def to(self, device: torch.device) -> FileMaps:
        return self
