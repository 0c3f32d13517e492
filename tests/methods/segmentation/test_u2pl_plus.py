"""U2PL+: its additions one by one, and its three kinds of evidence."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from leaven.data import Data, ImageSet, MemoryPixels
from leaven.data.evidence_dense import map_tags
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import ConfigError
from leaven.methods import Fitted, find_method
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.methods.segmentation.u2pl import U2PL
from leaven.methods.segmentation.u2pl_plus import U2PLPlus
from leaven.refine import AllowedClasses, ClassCentres
from leaven.train import Recipe
from leaven.train.pixel_trainer import PixelTrainer

MakeTrainer = Callable[..., PixelTrainer]

SMALL: dict[str, Any] = {
    "batch": 2,
    "recipe": Recipe(optimizer="adamw", lr=0.02, schedule="poly"),
    "width": 6,
    "queue": 40,
    "first_queue": 60,
    "anchors": 8,
    "negatives": 4,
    "ranks": (1, 3),
    "scale": (1.0, 1.0),
}
OFF: dict[str, Any] = {"momentum_centres": False, "denoised": False, "backward": 0.0}


@pytest.fixture
def tags_data(maps_data: Data[PixelMaps]) -> Data[PixelMaps]:
    """The pictures of ``maps_data``, of which nothing but the classes is known; a third of them
    shows no green, as far as their tags go."""
    train = maps_data.train
    tags = map_tags(train.truth.stored(torch.arange(12)), 3)
    tags[::3, 2] = False
    labels = train.truth.hidden(torch.zeros(12, dtype=torch.bool)).with_tags(tags)
    return maps_data.with_train(dataclasses.replace(train, labels=labels))


def state_of(method: U2PL, data: Data[PixelMaps], make: MakeTrainer) -> dict[str, Tensor]:
    trainer = make(data, 6)
    return method.fit(trainer.data, trainer).model.state_dict()


@pytest.mark.parametrize("options", [OFF, {**OFF, "momentum_centres": True, "centre_momentum": 0}])
def test_without_its_additions_it_is_u2pl_to_the_last_bit(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer, options: dict[str, Any]
) -> None:
    expected = state_of(U2PL(**SMALL), maps_data, pixel_trainer_for)
    found = state_of(U2PLPlus(**SMALL, **options), maps_data, pixel_trainer_for)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("addition", ["momentum_centres", "denoised", "backward"])
def test_every_addition_changes_something(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer, addition: str
) -> None:
    assert find_method("u2pl-plus", "segmentation") is U2PLPlus
    plain = state_of(U2PLPlus(**SMALL, **OFF), maps_data, pixel_trainer_for)
    options = {**OFF, addition: U2PLPlus.model_fields[addition].default}
    found = state_of(U2PLPlus(**SMALL, **options), maps_data, pixel_trainer_for)
    assert any(not torch.equal(found[name], value) for name, value in plain.items())


@pytest.mark.parametrize("evidence", ["maps", "domains", "tags"])
def test_a_resumed_run_ends_bit_identical(
    maps_data: Data[PixelMaps],
    tags_data: Data[PixelMaps],
    assert_resumes: Callable[..., Fitted],
    tmp_path: Path,
    evidence: Any,
) -> None:
    data = tags_data if evidence == "tags" else maps_data
    assert_resumes(U2PLPlus(**SMALL, evidence=evidence), data, 8, tmp_path)


def test_centres_come_from_sure_pixels_of_the_teacher_and_last(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PLPlus(**SMALL, supervised_share=0.0)
    run = method.train(pixel_trainer_for(maps_data, 4))
    centres = cast("ClassCentres", run.parts["centres"])
    assert int(centres.updates) == 4
    assert centres.seen.any()
    vectors = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    before = centres.centres.clone()
    for _ in range(10):
        member = torch.zeros(5, 3, dtype=torch.bool)
        member[:, 0] = True
        found = method.positives(run, vectors, member)
    assert torch.equal(found[1:], before[1:])
    assert bool(method.loss(run).isfinite())


# -- domains --------------------------------------------------------------------------------------


def test_pasted_source_pixels_are_given_and_target_pixels_are_parted(
    maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PLPlus(**{**SMALL, "ratio": 2}, evidence="domains", dropped=0.5)
    run = method.train(pixel_trainer_for(maps_data, 2))
    run.batch.progress = 0.0
    source, target = method.labelled_pixels(run), method.unlabelled_pixels(run)
    mixed = method.mixed(run, source, target)
    assert mixed.given.any()
    assert torch.equal(mixed.proposed, ~mixed.given)
    for number in range(4):
        pasted, other = mixed.given[number], source.rows(torch.tensor([number % 2]))
        assert torch.equal(mixed.images[number][:, pasted], other.images[0][:, pasted])
        assert torch.equal(mixed.classes[number][pasted], other.classes[0][pasted])
        assert torch.equal(mixed.images[number][:, ~pasted], target.images[number][:, ~pasted])
        # Whole classes, and half of them.
        shown, whole = other.classes[0][pasted].unique(), other.classes[0].unique()
        assert len(shown) == -(-len(whole) // 2)
        assert torch.equal(pasted, torch.isin(other.classes[0], shown))
    entropy = torch.rand(mixed.proposed.shape, generator=torch.Generator().manual_seed(0))
    parted = method.parted(run, entropy, mixed)
    assert not (parted.kept & mixed.given).any()
    share = parted.kept.sum() / mixed.proposed.sum()
    assert abs(float(share) - 0.5) < 0.01


# -- tags -----------------------------------------------------------------------------------------


def test_no_pixel_is_proposed_as_a_class_that_is_absent(
    tags_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PLPlus(**SMALL, evidence="tags")
    run = method.train(pixel_trainer_for(tags_data, 3))
    _favour(run, 2)
    tags = tags_data.unlabelled.labels.tags
    assert tags is not None
    for _ in range(4):
        for shown in (method.labelled_pixels(run), method.unlabelled_pixels(run)):
            for classes, item in zip(shown.classes, run.batch.unlabelled.items, strict=True):
                allowed = tags[item].nonzero()[:, 0]
                assert torch.isin(classes, torch.cat([allowed, torch.tensor([-1, 0])])).all()
        mixed = method.mixed(run, shown, method.unlabelled_pixels(run))
        assert mixed.allowed is not None
        chosen = mixed.allowed.gather(1, mixed.classes[:, None])
        assert chosen.all()


def _favour(run: PixelRun, number: int) -> None:
    """Lets the teacher see a class everywhere."""
    with torch.no_grad():
        run.teacher.head.get_parameter("bias")[number] += 50


def test_a_pixel_with_a_single_allowed_class_is_sure(
    tags_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PLPlus(**SMALL, evidence="tags")
    run = method.train(pixel_trainer_for(tags_data, 2))
    run.parts["allowed"] = AllowedClasses(torch.zeros(12, 3, dtype=torch.bool), background=0)
    batch = method.unlabelled_pixels(run)
    assert (batch.classes == 0).all()
    parted = method.parted(run, torch.zeros(batch.proposed.shape), batch)
    assert parted.kept.all()
    assert parted.low.all()
    assert not parted.high.any()
    assert bool(method.loss(run).isfinite())


def test_all_classes_allowed_changes_nothing(
    tags_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PLPlus(**SMALL, evidence="tags")
    run = method.train(pixel_trainer_for(tags_data, 2))
    shown = method.unlabelled_pixels(run)
    assert shown.allowed is not None
    with torch.no_grad():
        seen = method.look(run.teacher, shown, vectors=True)
        free = method.believed(run, seen, None)
        assert torch.equal(method.believed(run, seen, torch.ones_like(shown.allowed)), free)


def test_every_pixel_is_a_negative_of_the_absent_classes(
    tags_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer
) -> None:
    method = U2PLPlus(**SMALL, evidence="tags")
    run = method.train(pixel_trainer_for(tags_data, 2))
    shown = method.unlabelled_pixels(run)
    assert shown.allowed is not None
    found = method.with_ruled_out(torch.zeros(2, 3, 6, 8, dtype=torch.bool), shown)
    expected = ~shown.allowed[:, :, :1, :1].expand(-1, -1, 6, 8)
    assert torch.equal(found, expected)


def test_it_learns_places_from_tags(pixel_trainer_for: MakeTrainer) -> None:
    # Two of three colours, side by side: which is where, only other pictures can tell.
    generator = torch.Generator().manual_seed(0)
    sides = torch.rand(48, 3, generator=generator).argsort(1)[:, :2]
    maps = sides[:, None].repeat_interleave(16, 2).expand(48, 24, 32)
    colours = torch.tensor([[110, 110, 110], [200, 40, 40], [40, 180, 40]])
    noise = torch.randint(-20, 20, (48, 3, 24, 32), generator=generator)
    images = (colours[maps].permute(0, 3, 1, 2) + noise).to(torch.uint8)
    truth = PixelMaps.from_tensor(maps.to(torch.uint8))
    tags = map_tags(maps.to(torch.uint8), 3)
    hidden = truth.hidden(torch.zeros(48, dtype=torch.bool)).with_tags(tags)
    names = [f"picture-{number}" for number in range(48)]
    train = ImageSet(MemoryPixels(images), hidden, truth, names)
    test = dataclasses.replace(train, labels=truth)
    trainer = pixel_trainer_for(Data("halves", ("grey", "red", "green"), train, test=test), 60)
    method = U2PLPlus(**SMALL, evidence="tags", background=None, tags_share=0.3)
    fitted = method.fit(trainer.data, trainer)
    found = trainer.measure(fitted.model, trainer.data.test)
    # Without a place the sides would be tossed up.
    assert found["pixel_accuracy"] > 0.75, found


def test_the_tags_come_first_and_move_the_encoder_and_their_head_alone(
    tags_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, Tensor] = {}
    loss = U2PLPlus.loss

    def watched(method: U2PLPlus, run: PixelRun) -> Tensor:
        if not started:
            started.update(copy.deepcopy(run.student.state_dict()))
        return loss(method, run)

    monkeypatch.setattr(U2PLPlus, "loss", watched)
    recipe = Recipe(optimizer="sgd", lr=0.01, weight_decay=0.0, momentum=0.0)
    method = U2PLPlus(**{**SMALL, "recipe": recipe}, evidence="tags", tags_share=0.99)
    run = method.train(pixel_trainer_for(tags_data, 4))
    moved = {
        name
        for name, weight in run.student.named_parameters()
        if not torch.equal(weight, started[name])
    }
    parts = {name for name, _ in run.student.named_parameters()}
    encoder = {name for name in parts if name.startswith("net.down")}
    assert encoder
    assert encoder <= moved, parts
    assert moved - encoder == {name for name in parts if ".tags." in name}
    for name, weight in run.teacher.state_dict().items():
        assert torch.equal(weight, run.student.state_dict()[name]), name


@pytest.mark.parametrize("maps", [0, 3])
def test_label_maps_beside_tags_are_learned_once_the_tags_are(
    maps: int,
    tags_data: Data[PixelMaps],
    pixel_trainer_for: MakeTrainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = tags_data.train
    labels = dataclasses.replace(train.labels, known=torch.arange(12) < maps)
    data = tags_data.with_train(dataclasses.replace(train, labels=labels))
    asked, losses = [], []
    inner = U2PLPlus.supervised_loss

    def supervised(self: U2PLPlus, run: PixelRun) -> Tensor:
        asked.append(set(run.batch.labelled.items.tolist()))
        return torch.tensor(1000.0)

    def supervised_loss(self: U2PLPlus, *arguments: Any) -> Tensor:
        losses.append(float(inner(self, *arguments)))
        return inner(self, *arguments)

    monkeypatch.setattr(U2PLPlus, "supervised", supervised)
    monkeypatch.setattr(U2PLPlus, "supervised_loss", supervised_loss)
    U2PLPlus(**SMALL, evidence="tags", tags_share=0.4).train(pixel_trainer_for(data, 5))
    assert len(losses) == 3
    assert all(items <= set(range(maps)) for items in asked)
    assert all((loss > 1000) == (maps > 0) for loss in losses)


def test_tags_have_to_be_there(maps_data: Data[PixelMaps], pixel_trainer_for: MakeTrainer) -> None:
    trainer = pixel_trainer_for(maps_data, 2)
    with pytest.raises(ConfigError, match="with_tags"):
        U2PLPlus(**SMALL, evidence="tags").fit(trainer.data, trainer)
