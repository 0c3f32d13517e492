"""What a run tells of pixels counts those that show a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.quality.health import Health
from leaven.train.curves import step_curves
from leaven.train.pixel_trainer import PixelTrainer
from leaven.train.settings import Budget, Settings

PROPOSED = torch.tensor([[[0, 1, 1, -1], [2, 2, -1, -1]]])
WEIGHT = torch.tensor([[[1.0, 0.5, 0, 0], [0, 1, 0, 0]]])
STUDENT = torch.tensor([[[0, 1, 0, 0], [2, 1, 0, -1]]])


def test_the_curves_of_a_step_leave_out_what_is_beside_the_picture() -> None:
    found = step_curves(WEIGHT, PROPOSED, STUDENT, None, {})
    assert float(found["accepted_share"]) == pytest.approx(3 / 5)
    assert float(found["agreement"]) == pytest.approx(3 / 5)
    # Without proposals nobody knows what is beside it.
    assert float(step_curves(WEIGHT, None, None, None, {})["accepted_share"]) == 3 / 8


def test_items_without_a_class_are_items() -> None:
    found = step_curves(
        torch.tensor([1.0, 0, 0, 1]),
        torch.tensor([0, -1, -1, 2]),
        torch.tensor([0, 1, -1, 1]),
        None,
        {},
    )
    assert float(found["accepted_share"]) == 0.5
    assert float(found["agreement"]) == 0.5


def test_nothing_shown_is_not_a_number() -> None:
    found = step_curves(WEIGHT, torch.full_like(PROPOSED, -1), STUDENT, None, {})
    assert found["accepted_share"].isnan()


def test_the_health_of_a_run_counts_what_is_shown() -> None:
    health = Health(3, window=1)
    health.observe(weight=WEIGHT, proposed=PROPOSED)
    assert health._sums.accepted_share == 3 / 5
    items = Health(3, window=1)
    items.observe(weight=WEIGHT.flatten(), proposed=PROPOSED.flatten())
    assert items._sums.accepted_share == 3 / 8
    # Maps of weights alone.
    alone = Health(3, window=1)
    alone.observe(weight=WEIGHT)
    assert alone._sums.accepted_share == 3 / 8


@pytest.fixture
def tall(maps_data: Data[PixelMaps]) -> Data[PixelMaps]:
    """The rectangles as if the pictures were 24x16 as they were found: half of 24x32 shows them."""
    sizes = torch.tensor([[24, 16]]).expand(12, 2)
    return maps_data.with_train(dataclasses.replace(maps_data.train, sizes=sizes))


def test_labels_of_a_model_know_what_shows_a_picture(
    tall: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(tall, 2)
    labels = trainer.label(trainer.model(), trainer.data.unlabelled)
    assert labels.areas.tolist() == [24 * 16] * 8
    assert labels.accepted_share == 1.0
    assert float(labels.accepted.float().mean()) == 0.5


def test_without_sizes_everything_is_shown(maps_data: Data[PixelMaps]) -> None:
    data = maps_data.with_train(dataclasses.replace(maps_data.train, sizes=None))
    settings = Settings(
        model="unet", options={"widths": [4, 6, 8]}, budget=Budget(steps=2), threads=1, device="cpu"
    )
    trainer = PixelTrainer(data, None, settings)
    labels = trainer.label(trainer.model(), trainer.data.unlabelled)
    assert labels.extents is None
    assert labels.accepted_share == 1.0
