"""Tags of pictures beside their maps."""

from __future__ import annotations

import pytest
import torch

from leaven.data.evidence_dense import map_tags
from leaven.data.pixel_maps import PixelMaps


def tagged() -> tuple[PixelMaps, torch.Tensor]:
    maps = torch.randint(0, 4, (5, 2, 3), generator=torch.Generator().manual_seed(0)).byte()
    tags = map_tags(maps, 4)
    return PixelMaps.from_tensor(maps).with_tags(tags), tags


def test_tags_stay_when_maps_are_hidden_chosen_or_moved() -> None:
    maps, tags = tagged()
    hidden = maps.hidden(torch.zeros(5, dtype=torch.bool))
    assert not hidden.known.any()
    for found in (hidden, maps.to(torch.device("cpu"))):
        assert found.tags is not None
        assert torch.equal(found.tags, tags)
    index = torch.tensor([3, 1])
    chosen = maps.select(index)
    assert chosen.tags is not None
    assert torch.equal(chosen.tags, tags[index])
    assert torch.equal(chosen[torch.tensor([0])], maps[torch.tensor([3])])


def test_no_tags_stay_none() -> None:
    maps = PixelMaps.nothing(3, 2, 2)
    assert maps.tags is None
    assert maps.select(torch.tensor([0])).tags is None


def test_tags_of_other_pictures() -> None:
    maps, tags = tagged()
    with pytest.raises(ValueError, match="tags"):
        maps.with_tags(tags[:4])
    with pytest.raises(ValueError, match="tags"):
        maps.with_tags(tags[:, 0])
