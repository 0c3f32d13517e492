"""What a run tells of pixels counts those that show a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.methods import all_methods, find_method
from leaven.methods.segmentation.cw_bass_offline import CWBassStages, _Labeller, stored
from leaven.quality.health import Health
from leaven.select import prediction_stability
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


TAUGHT = sorted(set(all_methods("segmentation")) - {"supervised", "fst", "fst-wide"})
SMALL: dict[str, dict[str, Any]] = {
    "bcp": {"largest": False, "pretrain": 0.0},
    "cw-bass-stages": {"ranking": True},
    "u2pl": {"queue": 50, "width": 8, "supervised_share": 0.0},
    "u2pl-plus": {"queue": 50, "width": 8, "supervised_share": 0.0},
}


@pytest.mark.parametrize("name", TAUGHT)
def test_nothing_is_proposed_beside_the_picture(
    name: str,
    tall: Data[PixelMaps],
    pixel_trainer_for: Callable[..., PixelTrainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = name == "bcp"  # its views are never scaled, but turned
    values = SMALL.get(name, {}) | ({} if whole else {"scale": (1.0, 1.0)})
    method = find_method(name, "segmentation").configured({"batch": 2} | values)
    trainer = pixel_trainer_for(dataclasses.replace(tall, flip=False), 6)
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(trainer, "observe", lambda **values: told.append(values))
    method.fit(trainer.data, trainer)
    told = [values for values in told if "proposed" in values]
    assert told
    for values in told:
        known = values["proposed"] >= 0
        assert (values["weight"] > 0)[~known].sum() == 0
        if whole:
            assert 0 < float(known.float().mean()) <= 0.5
        else:
            assert not known[..., 16:].any() and known[..., :16].all()


def test_the_rim_counts_in_no_mean(
    tall: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(tall, 2)
    method = CWBassStages(batch=2)
    run = _Labeller(batch=2).train(trainer)
    narrow = prediction_stability(
        torch.stack([_said(net, tall)[..., :16] for net in run.parts["earlier"]]),
        _said(run.student, tall)[..., :16],
        3,
    )
    assert torch.equal(
        method.steady(trainer, run), narrow.argsort(descending=True, stable=True)[:4].sort().values
    )
    said = stored(trainer, run.student)
    with torch.no_grad():
        probs = run.student.eval()(_pictures(tall)).softmax(1)
    assert float(said.mean) == pytest.approx(float(probs.amax(1)[..., :16].mean()), abs=1e-6)


def _pictures(data: Data[PixelMaps]) -> Tensor:
    return data.unlabelled.pixels.batch(torch.arange(len(data.unlabelled)))


def _said(net: nn.Module, data: Data[PixelMaps]) -> Tensor:
    with torch.no_grad():
        return net.eval()(_pictures(data)).argmax(1)


def test_where_all_pictures_fill_the_frame_nothing_is_masked(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 2)
    assert trainer.extents == {"labelled": None, "unlabelled": None}
    assert trainer.shown(torch.tensor([0, 3])) is None


def test_the_parts_that_show_the_pictures_of_a_batch(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    sizes = maps_data.train.sizes.clone()
    sizes[[1, 3]] = torch.tensor([[24, 16], [6, 32]])  # one without a label, one with
    data = maps_data.with_train(dataclasses.replace(maps_data.train, sizes=sizes))
    trainer = pixel_trainer_for(data, 2)
    shown = trainer.shown(torch.tensor([4, 0]))
    assert shown[0].all()
    assert shown[1, :, :16].all() and not shown[1, :, 16:].any()
    assert trainer.shown(torch.tensor([1]), "labelled").sum() == 6 * 32


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
