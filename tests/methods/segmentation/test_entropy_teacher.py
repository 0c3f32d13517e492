"""The hosts of FST: a mean teacher with an entropy filter, and one across domains."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.learn import classmix_mask, pixel_cross_entropy
from leaven.methods import Fitted
from leaven.methods.segmentation.dacs import DACS
from leaven.methods.segmentation.entropy_teacher import EntropyTeacher
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.train import Recipe
from leaven.train.pixel_trainer import PixelTrainer

SMALL: dict[str, Any] = {
    "batch": 2,
    "ema": 0.9,
    "recipe": Recipe(optimizer="adamw", lr=0.02, schedule="poly"),
}


class OwnColours(DACS):
    def strong(self, run: PixelRun, images: Tensor) -> Tensor:
        return images


def different(run: PixelRun) -> None:
    """A teacher that is not the student."""
    generator = torch.Generator().manual_seed(3)
    for parameter in run.teacher.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.3


def test_the_loss_of_the_entropy_teacher(started: Callable[..., PixelRun]) -> None:
    method = EntropyTeacher(**SMALL, cutmix=0.0, keep=0.6)
    run = started(method)
    different(run)
    before, teacher = run.draws.state_dict(), copy.deepcopy(run.teacher.state_dict())
    found = method.loss(run)
    assert not run.teacher.training
    run.draws.load_state_dict(before)
    run.teacher.load_state_dict(teacher)
    images, classes = method.labelled(run)
    seen = method.weak(run, run.batch.unlabelled.images)
    valid = seen.geometry.valid()
    said = torch.where(valid, run.teacher(seen.images).argmax(1), -1)
    run.teacher.train()
    probs = run.teacher(torch.cat([images, seen.images])).softmax(1)[2:]
    entropy = -(probs * (probs + 1e-10).log()).sum(1)
    limit = float(np.percentile(entropy[valid].numpy(), 60))
    kept = valid & (entropy < limit)
    assert 0.5 < float(kept.sum() / valid.sum()) < 0.65
    logits = run.student(torch.cat([images, seen.images]))
    each = F.cross_entropy(logits[2:], said.clamp_min(0), reduction="none")[kept]
    expected = pixel_cross_entropy(logits[:2], classes) + each.mean() * valid.numel() / kept.sum()
    assert torch.allclose(found, expected)


def test_mixed_pictures_carry_their_classes(started: Callable[..., PixelRun]) -> None:
    method = EntropyTeacher(**SMALL, cutmix=1.0)
    run = started(method)
    masks = torch.stack([method.mask(run, run.batch.unlabelled.images) for _ in range(20)])
    share = masks.float().mean((2, 3))
    assert float(share.min()) > 0.4 and float(share.max()) < 0.6
    never = EntropyTeacher(**SMALL, cutmix=0.0)
    assert not never.mask(run, run.batch.unlabelled.images).any()
    half = EntropyTeacher(**SMALL)
    steps = [half.mask(run, run.batch.unlabelled.images).flatten(1).any(1) for _ in range(200)]
    # A step is mixed as a whole or not at all.
    assert all(bool(step.all()) == bool(step.any()) for step in steps)
    assert 70 <= sum(bool(step.any()) for step in steps) <= 130


def test_the_teacher_keeps_statistics_of_its_own(started: Callable[..., PixelRun]) -> None:
    for method in (EntropyTeacher(**SMALL), DACS(**SMALL)):
        run = started(method)
        means = {n: b.clone() for n, b in run.teacher.named_buffers() if "running_mean" in n}
        assert method.step(run)
        after = dict(run.teacher.named_buffers())
        assert all(not torch.equal(mean, after[name]) for name, mean in means.items())
        own = {name: b.clone() for name, b in after.items()}
        method.after(run)
        assert all(torch.equal(own[name], b) for name, b in run.teacher.named_buffers())
        # In the first step the decay is 0.
        for mine, other in zip(run.teacher.parameters(), run.student.parameters(), strict=True):
            assert torch.equal(mine, other)


def test_the_loss_across_domains(started: Callable[..., PixelRun]) -> None:
    method = OwnColours(**SMALL, confident=0.4, rows_left_out=(2, 5))
    run = started(method)
    different(run)
    before = run.draws.state_dict()
    found = method.loss(run)
    run.draws.load_state_dict(before)
    sample = run.batch.labelled
    source = method.weak(run, sample.images)
    target = method.weak(run, run.batch.unlabelled.images)
    y, shown, valid = (
        source.geometry.maps(sample.targets),
        source.geometry.valid(),
        target.geometry.valid(),
    )
    confidence, said = run.teacher(target.images).softmax(1).max(1)
    share = float((confidence[valid] >= 0.4).float().mean())
    assert 0 < share <= 1
    weight = torch.full_like(confidence, share) * valid
    weight[:, :2], weight[:, -5:] = 0, 0
    mask = classmix_mask(y, run.draws, 3)
    pictures = torch.where(mask[:, None], source.images, target.images)
    classes = torch.where(mask, y, torch.where(valid, said, -1))
    weight = torch.where(mask, 1.0, weight)
    losses = F.cross_entropy(run.student(pictures), classes, ignore_index=-1, reduction="none")
    all_shown = torch.where(mask, shown, valid)
    mixed = (losses * weight).sum() / all_shown.sum()
    expected = mixed + pixel_cross_entropy(run.student(source.images), y)
    assert torch.allclose(found, expected)


def test_the_teacher_across_domains_is_free_of_noise(started: Callable[..., PixelRun]) -> None:
    run = started(DACS(**SMALL))
    noise = nn.Dropout2d(), StochasticDepth(0.5, "row"), DropPath(0.5)
    student: Any = nn.Sequential(nn.BatchNorm2d(3), *noise, run.student)
    teacher = DACS(**SMALL).average(student).module
    assert [module.training for module in teacher[:4]] == [True, False, False, False]


@pytest.mark.parametrize("kind", [EntropyTeacher, DACS])
def test_what_is_delivered_is_watched(
    kind: type[EntropyTeacher | DACS],
    maps_data: Data[PixelMaps],
    pixel_trainer_for: Callable[..., PixelTrainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = pixel_trainer_for(maps_data, 2)
    watched: list[nn.Module] = []
    steps = trainer.steps

    def recorded(**values: Any) -> Any:
        watched.append(values["watch"])
        return steps(**values)

    predicting: list[bool] = []
    monkeypatch.setattr(trainer, "steps", recorded)
    monkeypatch.setattr(trainer.health, "decay", lambda *_, predicts: predicting.append(predicts))
    method = kind(**SMALL)
    run = method.train(trainer)
    assert watched == [method.final(run)]
    assert predicting == [kind is EntropyTeacher]


def test_the_student_is_the_result_across_domains(started: Callable[..., PixelRun]) -> None:
    method = DACS(**SMALL)
    run = started(method)
    assert method.final(run) is run.student
    assert EntropyTeacher(**SMALL).final(run) is run.teacher


@pytest.mark.parametrize("kind", [EntropyTeacher, DACS])
def test_a_resumed_run_ends_bit_identical(
    kind: type[EntropyTeacher | DACS],
    maps_data: Data[PixelMaps],
    assert_resumes: Callable[..., Fitted],
    tmp_path: Path,
) -> None:
    assert_resumes(kind(**SMALL), maps_data, 8, tmp_path)


@pytest.mark.parametrize("kind", [EntropyTeacher, DACS])
def test_it_learns_rectangles(
    kind: type[EntropyTeacher | DACS],
    maps_data: Data[PixelMaps],
    pixel_trainer_for: Callable[..., PixelTrainer],
) -> None:
    trainer = pixel_trainer_for(maps_data, 80)
    method = kind(**SMALL, scale=(1.0, 1.0), unlabelled_weight=0.1)
    found = trainer.measure(method.fit(trainer.data, trainer).model, trainer.data.test)
    assert found["miou"] > 0.5, found
