"""Rectangles of noise."""

from __future__ import annotations

import pytest
import torch

from leaven.data.transforms import NoiseErase
from leaven.draws import Draws
from leaven.errors import ConfigError

SIZE = (60, 80)


def test_rectangles_of_the_area_and_form() -> None:
    masks = NoiseErase(1.0, (0.05, 0.2), (0.5, 2.0)).mask(200, SIZE, Draws(0))
    area = masks.flatten(1).sum(1) / (SIZE[0] * SIZE[1])
    assert (area > 0.045).all() and (area < 0.21).all() and area.std() > 0.03
    rows, columns = masks.any(2).sum(1), masks.any(1).sum(1)
    # Whole rectangles, and of the height and width that was asked for.
    assert torch.equal(rows * columns, masks.flatten(1).sum(1))
    ratio = rows / columns
    assert (ratio > 0.45).all() and (ratio < 2.2).all()
    assert 0.4 < (ratio > 1).float().mean() < 0.6


def test_share_of_pictures_and_noise() -> None:
    images = torch.full((200, 3, *SIZE), 7, dtype=torch.uint8)
    changed = NoiseErase(0.3)(images, Draws(1))
    touched = (changed != images).flatten(1).any(1)
    assert 0.2 < touched.float().mean() < 0.4
    noise = changed[changed != 7].float()
    assert 120 < noise.mean() < 135 and noise.min() == 0 and noise.max() == 255
    assert torch.equal(NoiseErase(0.0)(images, Draws(1)), images)


def test_long_ones_are_cut_to_the_picture() -> None:
    masks = NoiseErase(1.0, (0.2, 0.2), (50.0, 50.0)).mask(5, SIZE, Draws(2))
    assert masks.any(2).all()
    assert NoiseErase(1.0).mask(0, SIZE, Draws(2)).shape == (0, *SIZE)


@pytest.mark.parametrize("wrong", [{"probability": 2.0}, {"area": (0.5, 0.1)}, {"ratio": (0.0, 1)}])
def test_numbers_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        NoiseErase(**wrong)
