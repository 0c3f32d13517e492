"""The labelled loss of the hard pixels, a choice of every method for label maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import ConfigError
from leaven.learn import hard_pixel_cross_entropy, pixel_cross_entropy
from leaven.methods import all_methods, find_method
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun
from leaven.methods.segmentation.supervised import Supervised
from leaven.train import Recipe
from leaven.train.pixel_trainer import PixelTrainer

RECIPE = Recipe(optimizer="adamw", lr=0.02, schedule="poly")
SMALL: dict[str, Any] = {"batch": 2, "recipe": RECIPE}
HARD: dict[str, Any] = {"hard_pixels": True, "hard_least": 50}
EXTRA: dict[str, dict[str, Any]] = {"u2pl": {"queue": 50, "width": 8, "supervised_share": 0.0}}
METHODS = ("supervised", "cps", "cps-cutmix", "u2pl", "unimatch", "corrmatch", "mean-teacher")


def method_of(name: str, **values: Any) -> FewMaps:
    return find_method(name, "segmentation").configured(SMALL | EXTRA.get(name, {}) | values)


def test_every_method_but_that_of_regions_has_it() -> None:
    for name, kind in all_methods("segmentation").items():
        assert issubclass(kind, FewMaps)
        if name == "bcp":
            with pytest.raises(ConfigError, match=r"(?s)hard_pixels of bcp.*whole regions"):
                kind.configured(HARD)
        else:
            assert kind.configured(HARD).hard_pixels


@pytest.mark.parametrize("name", METHODS)
def test_with_nothing_left_out_the_step_is_the_plain_one(
    name: str, started: Callable[..., PixelRun]
) -> None:
    losses = []
    for values in ({}, {"hard_pixels": True}):  # by default every pixel of these is learned
        method = method_of(name, **values)
        begun = started(method, progress=0.5)
        losses.append(method.loss(begun))
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", METHODS)
def test_easy_pixels_are_left_out_of_the_labelled_loss(
    name: str, started: Callable[..., PixelRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def recorded(self: FewMaps, logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        seen.append((logits.detach(), classes))
        return pixel_cross_entropy(logits, classes)

    method = method_of(name, **HARD)
    hard = method.loss(started(method, progress=0.5))
    with monkeypatch.context() as patched:
        patched.setattr(FewMaps, "labelled_loss", recorded)
        plain = method.loss(started(method, progress=0.5))
    # What differs is the term of the given classes, whatever its weight in the method is.
    gap = sum(
        float(hard_pixel_cross_entropy(*pair, 0.7, 50)) - float(pixel_cross_entropy(*pair))
        for pair in seen
    )
    assert gap != 0
    share = {"unimatch": 1 / 2, "corrmatch": 1 / 4}.get(name, 1.0)
    torch.testing.assert_close((hard - plain).item(), share * gap, rtol=1e-3, atol=1e-5)


def test_the_threshold_and_the_number_are_those_of_the_method() -> None:
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    classes = torch.randint(-1, 3, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    method = Supervised(hard_pixels=True, hard_threshold=0.3, hard_least=7)
    expected = hard_pixel_cross_entropy(logits, classes, 0.3, 7)
    assert torch.equal(method.labelled_loss(logits, classes), expected)


def test_it_holds_for_the_host_of_fst() -> None:
    method = find_method("fst", "segmentation").configured(HARD)
    assert method.host.hard_pixels
    assert method.host.hard_least == 50


def test_it_learns_rectangles(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 60)
    fitted = Supervised(**SMALL, **HARD, ema=0.9, scale=(1.0, 1.0)).fit(trainer.data, trainer)
    found = trainer.measure(fitted.model, trainer.data.test)
    assert found["miou"] > 0.6, found
