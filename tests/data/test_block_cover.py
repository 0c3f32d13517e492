"""Random blocks of a grid."""

from __future__ import annotations

import pytest
import torch

from leaven.data.transforms import random_blocks
from leaven.draws import Draws
from leaven.errors import ConfigError


def test_blocks_are_whole_and_as_many_as_asked() -> None:
    found = random_blocks(200, (64, 96), Draws(0), 32, 0.7)
    assert found.shape == (200, 64, 96) and found.dtype == torch.bool
    cells = found.view(200, 2, 32, 3, 32).float().mean((2, 4))
    assert ((cells == 0) | (cells == 1)).all()
    assert cells.mean() == pytest.approx(0.7, abs=0.04)
    assert len(cells.flatten(1).unique(dim=0)) > 20
    assert torch.equal(random_blocks(200, (64, 96), Draws(0), 32, 0.7), found)


def test_a_side_that_does_not_divide_has_blocks_of_almost_one_size() -> None:
    found = random_blocks(300, (50, 20), Draws(1), 32, 0.5)
    rows = (found[:, 1:] != found[:, :-1]).any(0).any(1).nonzero().flatten()
    assert rows.tolist() == [24]
    assert (found == found[:, :, :1]).all()


def test_all_none_and_bad_values() -> None:
    assert random_blocks(2, (8, 8), Draws(0), 4, 1.0).all()
    assert not random_blocks(2, (8, 8), Draws(0), 4, 0.0).any()
    assert random_blocks(0, (8, 8), Draws(0)).shape == (0, 8, 8)
    for values in ({"block": 0}, {"share": 1.5}):
        with pytest.raises(ConfigError):
            random_blocks(2, (8, 8), Draws(0), **values)
