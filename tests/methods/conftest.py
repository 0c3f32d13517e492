"""What the tests of methods share: trainers, and the check that a run resumes to the same bits."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.data import Data, FeaturePixels, ImageSet, MemoryPixels, PairedPictures
from leaven.data.pixel_maps import PixelMaps
from leaven.labels import BoxLabels, Captions, Masks
from leaven.methods import Fitted, Method
from leaven.models import build_model, save_model
from leaven.train import Budget, Optimizer, Settings, Trainer
from leaven.train.box_trainer import BoxTrainer
from leaven.train.picture_trainer import PictureTrainer
from leaven.train.pixel_trainer import PixelTrainer

EVERY = 3
"""Steps between two checkpoints."""
SMALL_UNET: dict[str, Any] = {"widths": [4, 6, 8]}
SMALL_DETECTOR: dict[str, Any] = {}
CLOCK = ("seconds", "images_per_second")


def _options(data: Data) -> dict[str, Any]:
    """A narrow net; what stands on feature rows has no width."""
    return {"width": 8} if data.has_views else {}


@pytest.fixture
def trainer_for() -> Callable[..., Trainer]:
    """``trainer_for(data, steps, folder=None)``: on one thread, with a narrow net."""

    def make(data: Data, steps: int, folder: Path | None = None, **settings: Any) -> Trainer:
        chosen = Settings(
            budget=Budget(steps=steps),
            threads=1,
            device="cpu",
            precision="fp32",
            options=_options(data),
            **settings,
        )
        return Trainer(data, folder, chosen)

    return make


@pytest.fixture
def feature_data(digits_data: Data) -> Data:
    """Rows in the place of the digits, from which their class can be read."""
    train = digits_data.train
    generator = torch.Generator().manual_seed(3)
    rows = F.one_hot(train.truth, 12) + 0.1 * torch.rand(len(train), 12, generator=generator)
    train = dataclasses.replace(train, pixels=FeaturePixels(rows))
    return dataclasses.replace(digits_data, train=train, val=None, test=None)


@pytest.fixture
def trained_net(tmp_path: Path, digits_data: Data) -> Path:
    """A file of weights for the nets of ``trainer_for``."""
    torch.manual_seed(7)
    model = build_model(
        "cnn-small",
        digits_data.classes,
        digits_data.shape,
        mean=[0.3],
        std=[0.4],
        options={"width": 8},
    )
    return save_model(model, tmp_path / "trained") / "model.safetensors"


@pytest.fixture
def pixel_trainer_for() -> Callable[..., PixelTrainer]:
    """``pixel_trainer_for(data, steps, folder=None)``: on one thread, with a narrow U-Net."""

    def make(data: Any, steps: int, folder: Path | None = None, **settings: Any) -> PixelTrainer:
        chosen = {"model": "unet", "options": SMALL_UNET, "precision": "fp32", **settings}
        budget = Budget(steps=steps)
        return PixelTrainer(
            data, folder, Settings(budget=budget, threads=1, device="cpu", **chosen)
        )

    return make


@pytest.fixture
def box_trainer_for() -> Callable[..., BoxTrainer]:
    """``box_trainer_for(data, steps, folder=None)``: on one thread, with a small detector."""

    def make(data: Any, steps: int, folder: Path | None = None, **settings: Any) -> BoxTrainer:
        chosen = {"options": SMALL_DETECTOR, "precision": "fp32", **settings}
        budget = Budget(steps=steps)
        return BoxTrainer(data, folder, Settings(budget=budget, threads=1, device="cpu", **chosen))

    return make


@pytest.fixture
def maps_data() -> Data[PixelMaps]:
    """12 pictures of 24x32 with 3 classes: a red and a green rectangle on grey; 4 are labelled,
    and 4 further ones are the test set."""
    images, _, _, maps = _rectangles(16)
    known = torch.arange(16) % 3 == 0
    truth = PixelMaps.from_tensor(maps)
    whole = ImageSet(
        MemoryPixels(images),
        truth.hidden(known),
        truth,
        [f"picture-{number}" for number in range(16)],
        sizes=torch.tensor([[24, 32]]).expand(16, 2),
    )
    train, test = whole.subset(torch.arange(12)), whole.subset(torch.arange(12, 16))
    test = dataclasses.replace(test, labels=test.truth)
    return Data("rectangles", ("ground", "red", "green"), train, test=test)


@pytest.fixture
def boxes_data() -> Data[BoxLabels]:
    """The pictures of ``maps_data`` (64x64) with a box and a mask for each rectangle."""
    images, boxes, masks, _ = _rectangles(16, 64, 64)
    known = torch.arange(16) % 3 == 0
    truth = BoxLabels.from_person(
        list(boxes), [torch.tensor([0, 1])] * 16, masks=Masks.from_dense(masks.flatten(0, 1))
    )
    whole = ImageSet(
        MemoryPixels(images),
        truth.hidden(known),
        truth,
        [f"picture-{number}" for number in range(16)],
        sizes=torch.tensor([[64, 64]]).expand(16, 2),
    )
    train, test = whole.subset(torch.arange(12)), whole.subset(torch.arange(12, 16))
    test = dataclasses.replace(test, labels=test.truth)
    return Data("rectangles", ("red", "green"), train, test=test)


def _rectangles(
    count: int, height: int = 24, width: int = 32
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures (n, 3, H, W), boxes (n, 2, 4), masks (n, 2, H, W) and maps (n, H, W) uint8."""
    generator = torch.Generator().manual_seed(0)
    sides = torch.tensor([width, height]) // 2
    start = torch.rand(count, 2, 2, generator=generator) * sides
    size = (torch.rand(count, 2, 2, generator=generator) * 0.5 + 0.4) * sides
    boxes = torch.cat([start, start + size], 2).round()
    # The red one left, the green one right of the middle: they do not hide each other.
    boxes[:, 1, [0, 2]] = (boxes[:, 1, [0, 2]] + sides[0]).clamp_max(width)
    boxes[:, 0, [0, 2]] = boxes[:, 0, [0, 2]].clamp_max(int(sides[0]))
    x, y = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
    x1, y1, x2, y2 = boxes[..., None, None].unbind(2)
    masks = (x > x1) & (x < x2) & (y > y1) & (y < y2)
    maps = (masks[:, 0] + 2 * masks[:, 1]).to(torch.uint8)
    colours = torch.tensor([[110, 110, 110], [200, 40, 40], [40, 180, 40]])
    images = colours[maps.long()].permute(0, 3, 1, 2) + torch.randint(
        -20, 20, (count, 3, height, width), generator=generator
    )
    return images.clamp(0, 255).to(torch.uint8), boxes, masks, maps


@pytest.fixture
def assert_resumes() -> Callable[..., Fitted]:
    """``assert_resumes(method, data, steps, tmp_path, breaks=(0.4, 0.95))``; see below."""
    return _assert_resumes


class _BrokenOff(Exception):
    pass


class _Fragile:
    """Breaks off in the middle of the step ``last`` of the run, after its update."""

    last: int | None = None

    def update(self, loss: Tensor, optimizer: Optimizer) -> bool:
        moved = super().update(loss, optimizer)  # type: ignore[misc]
        if self.step == self.last:  # type: ignore[attr-defined]
            raise _BrokenOff
        return moved


class _FragileTrainer(_Fragile, Trainer):
    pass


class _FragilePixelTrainer(_Fragile, PixelTrainer):
    pass


class _FragileBoxTrainer(_Fragile, BoxTrainer):
    pass


class _FragilePictureTrainer(_Fragile, PictureTrainer):
    pass


def _assert_resumes(
    method: Method,
    data: Data,
    steps: int,
    tmp_path: Path,
    *,
    breaks: tuple[float, ...] = (0.4, 0.95),
) -> Fitted:
    """Runs ``method`` whole, and broken off at each share of ``breaks`` and at a random step.

    Model, labels, every label round and the metrics are equal to the last bit. Gives the whole run.
    """
    expected = _fit(method, data, steps, tmp_path / "whole")
    found: Fitted | None = None
    lasts = sorted({int(share * steps) for share in breaks} | {random.randrange(EVERY, steps)})
    for last in (*lasts, None):
        try:
            found = _fit(method, data, steps, tmp_path / "broken", last)
        except _BrokenOff:
            assert any((tmp_path / "broken" / "checkpoints").iterdir())
        else:
            assert last is None, "the run was to break off"
    assert found is not None
    where = f"broken off at steps {lasts}"
    state = found.model.state_dict()
    for name, value in expected.model.state_dict().items():
        assert torch.equal(state[name], value), f"{name}, {where}"
    for field in dataclasses.fields(expected.labels) if expected.labels is not None else ():
        own, other = (getattr(one.labels, field.name) for one in (found, expected))
        if isinstance(own, Masks):
            own, other = list(own.runs), list(other.runs)
        same = torch.equal(own, other) if isinstance(own, Tensor) else own == other
        assert same, f"{field.name}, {where}"
    assert _rounds(tmp_path / "broken") == _rounds(tmp_path / "whole"), where
    assert _metrics(tmp_path / "broken") == _metrics(tmp_path / "whole"), where
    return expected


def _fit(method: Method, data: Data, steps: int, folder: Path, last: int | None = None) -> Fitted:
    folder.mkdir(exist_ok=True)
    kind, model, options = _kind(data)
    settings = Settings(
        budget=Budget(steps=steps),
        threads=1,
        checkpoint_steps=EVERY,
        model=model,
        options=options,
    )
    trainer = kind(data, folder, settings, resume=True)
    trainer.last = last
    try:
        return method.fit(trainer.data, trainer)
    finally:
        trainer.journal.close()


def _kind(data: Data[Any]) -> tuple[type[Any], str, dict[str, Any]]:
    """The trainer for the data, with the name and the options of a small net."""
    if isinstance(data.train.labels, PixelMaps):
        return _FragilePixelTrainer, "unet", SMALL_UNET
    if isinstance(data.train.labels, BoxLabels):
        return _FragileBoxTrainer, "auto", SMALL_DETECTOR
    if isinstance(data.train.labels, PairedPictures):
        return _FragilePictureTrainer, "auto", {}
    if isinstance(data.train.labels, Captions):
        return _FragilePictureTrainer, "auto", {"width": 8, "blocks": 2, "heads": 2}
    return _FragileTrainer, "auto", _options(data)


def _rounds(folder: Path) -> dict[int, Any]:
    """The tables of all rounds of labels."""
    files = sorted((folder / "labels").glob("*.parquet"))
    return {number: pq.read_table(file).to_pylist() for number, file in enumerate(files)}


def _metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of the journal without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: v for name, v in line.items() if name not in CLOCK} for line in lines]


@pytest.fixture(scope="session")
def digits_source(digits_data, tmp_path_factory):
    """(passes) -> a folder with a network that has learnt 640 digits, so many times each."""

    def make(passes: int):
        torch.manual_seed(0)
        model = build_model(
            "cnn-small",
            digits_data.classes,
            digits_data.shape,
            mean=(0.3,),
            std=(0.4,),
            options={"width": 8},
        )
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        train = digits_data.train
        images, truth = train.pixels.batch(torch.arange(640)), train.truth[:640]
        for _ in range(passes):
            for batch, targets in zip(images.split(64), truth.split(64), strict=True):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(batch), targets).backward()
                optimizer.step()
        return save_model(model.eval(), tmp_path_factory.mktemp("source"))

    return make
