"""What DAFormer adds to DACS: rare classes, and features that stay near the first ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from leaven.data import Data, RareClassStream
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import ConfigError
from leaven.learn import masked_feature_distance, patch_classes
from leaven.methods import Fitted
from leaven.methods.segmentation.dacs import DACS, FirstFeatures
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.methods.segmentation.fst import FSTDeep
from leaven.train import Recipe
from leaven.train.pixel_trainer import PixelTrainer

RECIPE = Recipe(optimizer="adamw", lr=0.02, schedule="poly")
SMALL: dict[str, Any] = {"batch": 2, "ema": 0.9, "recipe": RECIPE}
THINGS: dict[str, Any] = {"things": ("Red", "green"), "feature_weight": 0.3, "filled": 0.5}
EACH: dict[str, dict[str, Any]] = {
    "rare": {"rare_temperature": 0.05},
    "features": THINGS,
    "rows": {"rows_left_out": (3, 5)},
}


def test_by_default_neither_is_there(started: Callable[..., PixelRun]) -> None:
    method = DACS(**SMALL)
    run = started(method)
    assert not len(run.parts)
    assert type(method.streams(run.trainer.data)["labelled"]) is not RareClassStream
    assert method.rows_left_out == (0, 0)


def test_the_labelled_stream_draws_rare_classes(started: Callable[..., PixelRun]) -> None:
    method = DACS(**SMALL, rare_temperature=0.05, rare_share=0.1)
    stream = method.streams(started(method).trainer.data)["labelled"]
    assert isinstance(stream, RareClassStream)
    counts = torch.zeros(3)
    for picture in stream._pixels:
        counts += picture
    expected = ((1 - counts / counts.sum()) / 0.05).softmax(0)
    assert torch.allclose(stream.probs.float(), expected, atol=1e-6)
    # A tenth of the 24x32 pixels of a picture, where one has so many.
    most = stream._pixels.amax(0).clamp_max(77)
    assert torch.equal(stream._shows, (stream._pixels >= most).t())


def test_the_loss_gets_the_distance_to_the_first_encoder(started: Callable[..., PixelRun]) -> None:
    method = DACS(**SMALL, **THINGS)
    run = started(method)
    first = run.parts["first"]
    assert isinstance(first, FirstFeatures)
    for parameter in run.student.parameters():
        parameter.data += 0.05
    sample = run.batch.labelled
    source = method.weak(run, sample.images)
    classes = source.geometry.maps(sample.targets)
    found = method.source_losses(run, source.images, classes)
    plain = DACS(**SMALL).source_losses(run, source.images, classes)
    assert torch.allclose(found["supervised"], plain["supervised"])

    coarse = run.student.encode(source.images)[-1]
    with torch.no_grad():
        others = first.model.encode(source.images)[-1]
    patches = patch_classes(classes, (coarse.shape[2], coarse.shape[3]), 3, 0.5)
    mask = (patches == 1) | (patches == 2)
    assert mask.any()
    expected = 0.3 * masked_feature_distance(coarse, others, mask)
    assert expected.item() > 0
    assert torch.allclose(found["features"], expected)


def test_the_first_encoder_never_moves(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 4)
    method = DACS(**SMALL, **THINGS)
    run = method.train(trainer)
    first = run.parts["first"]
    assert isinstance(first, FirstFeatures)
    assert not any(
        module.training for module in run.parts.train().modules() if module is not run.parts
    )
    fresh = pixel_trainer_for(maps_data, 4).model().state_dict()
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, fresh[name]), name
    assert not any(
        torch.equal(p, fresh[n]) for n, p in run.student.named_parameters() if p.ndim > 1
    )


def test_things_that_are_no_class_are_refused(started: Callable[..., PixelRun]) -> None:
    with pytest.raises(ConfigError, match=r"(?s)traffic light.*ground, red, green"):
        started(DACS(**SMALL, feature_weight=0.005))


@pytest.mark.parametrize("which", EACH)
def test_a_resumed_run_ends_bit_identical(
    which: str,
    maps_data: Data[PixelMaps],
    assert_resumes: Callable[..., Fitted],
    tmp_path: Path,
) -> None:
    assert_resumes(DACS(**SMALL, **EACH[which]), maps_data, 8, tmp_path)


@pytest.mark.parametrize("which", EACH)
def test_it_learns_rectangles(
    which: str, maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 80)
    method = DACS(**SMALL, scale=(1.0, 1.0), unlabelled_weight=0.1, **EACH[which])
    found = trainer.measure(method.fit(trainer.data, trainer).model, trainer.data.test)
    assert found["miou"] > 0.5, found


def test_it_is_a_host_of_fst(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    options = {**THINGS, "rare_temperature": 0.05, "rows_left_out": (3, 5)}
    method = FSTDeep(base="dacs", base_set=options, steps=1, **SMALL)
    trainer = pixel_trainer_for(maps_data, 4)
    run = method.train(trainer)
    assert isinstance(run.parts["first"], FirstFeatures)
    assert all(bool(p.isfinite().all()) for p in run.student.parameters())
