"""Label maps that are looked through before anything is learnt from them."""

import torch

from leaven.data.map_files import looked_through
from leaven.data.pixels import MemoryPixels


def test_void_maps_and_the_numbers_that_are_there() -> None:
    stored = torch.full((4, 1, 2, 3), 255, dtype=torch.uint8)
    stored[0, 0, 0], stored[1, 0, 1, 2], stored[3] = 7, 2, 9
    known = torch.tensor([True, True, True, False])
    void, there = looked_through(MemoryPixels(stored), known)
    assert void.tolist() == [False, False, True, False]
    assert there.nonzero().flatten().tolist() == [2, 7] and len(there) == 255


def test_where_no_map_is_known_nothing_is_said_to_be_missing() -> None:
    maps = MemoryPixels(torch.full((2, 1, 2, 3), 255, dtype=torch.uint8))
    void, there = looked_through(maps, torch.zeros(2, dtype=torch.bool))
    assert not bool(void.any()) and bool(there.all())
