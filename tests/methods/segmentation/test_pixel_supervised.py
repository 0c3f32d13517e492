"""The supervised baseline on pixels, and the loop it shares with the other methods for pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.labels import LabelStore
from leaven.methods import Fitted, find_method
from leaven.methods.segmentation.supervised import Supervised
from leaven.train import Recipe
from leaven.train.pixel_trainer import PixelTrainer

SMALL = {"batch": 2, "ema": 0.9, "recipe": Recipe(optimizer="adamw", lr=0.02, schedule="poly")}


def test_it_is_found_by_its_task() -> None:
    assert find_method("supervised", "segmentation") is Supervised
    assert find_method("supervised").card.task == "classification"


def test_it_learns_rectangles(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 60)
    fitted = Supervised(**SMALL, scale=(1.0, 1.0)).fit(trainer.data, trainer)
    found = trainer.measure(fitted.model, trainer.data.test)
    assert found["miou"] > 0.6, found
    assert fitted.labels.classes.shape == (8, 24, 32)


def test_a_resumed_run_ends_bit_identical(
    maps_data: Data[PixelMaps], assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    assert_resumes(Supervised(**SMALL), maps_data, 8, tmp_path)


def test_the_truth_of_unlabelled_pictures_is_never_given_out(maps_data: Data[PixelMaps]) -> None:
    unlabelled = maps_data.unlabelled
    assert (unlabelled.labels[torch.arange(len(unlabelled))] == -1).all()
    sample = next(iter([unlabelled.batches(3).next()]))
    assert (sample.targets == -1).all()


def test_labels_are_stored_in_the_size_of_the_pictures(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer], tmp_path: Path
) -> None:
    import dataclasses

    larger = torch.tensor([[48, 64]]).expand(12, 2)
    data = maps_data.with_train(dataclasses.replace(maps_data.train, sizes=larger))
    trainer = pixel_trainer_for(data, 2, tmp_path)
    fitted = Supervised(**SMALL).fit(trainer.data, trainer)
    trainer.save_labels(0, fitted.labels)
    stored = LabelStore(tmp_path / "labels").read_pixels()
    assert stored.names == list(data.train.names)
    first, other = stored.picture(0), stored.picture(1)
    given = data.train.labels.stored(torch.tensor([0]))[0]
    assert torch.equal(first.classes, given.repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert other.source.name == "MODEL"
    assert torch.equal(other.classes[::2, ::2], fitted.labels.classes[0])
    assert other.accuracy is None or 0 <= other.accuracy <= 1
