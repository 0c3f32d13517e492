"""CW-BASS on line and in stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.learn import pixel_cross_entropy
from leaven.methods import Fitted
from leaven.methods.segmentation.cw_bass import CWBass
from leaven.methods.segmentation.cw_bass_offline import CWBassStages, _Labeller
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.refine import label_borders
from leaven.select import prediction_stability
from leaven.train import Recipe
from leaven.train.pixel_trainer import PixelTrainer

SMALL: dict[str, Any] = {"batch": 2, "recipe": Recipe(optimizer="adamw", lr=0.02, schedule="poly")}


@pytest.fixture
def pixels() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (2, 3, 6, 7), classes with some left out, confidence, and some borders."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 7, generator=generator)
    classes = torch.randint(-1, 3, (2, 6, 7), generator=generator)
    confidence = torch.rand(2, 6, 7, generator=generator)
    return logits, classes, confidence, torch.rand(2, 6, 7, generator=generator) < 0.3


def test_the_loss_of_unlabelled_pixels(pixels: tuple[Tensor, ...]) -> None:
    logits, classes, confidence, border = pixels
    each = F.cross_entropy(logits, classes.clamp_min(0), reduction="none")
    kept = classes >= 0
    expected = (each * confidence**2)[kept].mean() + 0.5 * each[kept & border].mean()
    found = CWBass(power=2.0).cost(logits, classes, confidence, border, 1.0)
    assert torch.allclose(found, expected)


def test_without_its_devices_it_is_plain_cross_entropy(pixels: tuple[Tensor, ...]) -> None:
    logits, classes, confidence, border = pixels
    plain = pixel_cross_entropy(logits, classes)
    method = CWBass(power=0.0)
    assert torch.equal(
        method.cost(logits, classes, confidence, torch.zeros_like(border), 1.0), plain
    )


def test_the_decay_scales_the_weighted_part_alone(pixels: tuple[Tensor, ...]) -> None:
    logits, classes, confidence, border = pixels
    for power in (1.0, 2.0):
        weighted, at_border = (
            [method.cost(logits, classes, confidence, border, decay) for decay in (1.0, 0.9)]
            for method in (CWBass(power=power, border_weight=0.0), CWBass(power=power))
        )
        assert torch.allclose(weighted[1], weighted[0] * 0.9**power)
        assert torch.allclose(at_border[1] - weighted[1], at_border[0] - weighted[0])


def test_borders_add_nothing_elsewhere(pixels: tuple[Tensor, ...]) -> None:
    logits, classes, confidence, border = pixels
    logits.requires_grad_()
    grads = []
    for weight in (0.0, 0.5):
        cost = CWBass(border_weight=weight).cost(logits, classes, confidence, border, 1.0)
        grads.append(torch.autograd.grad(cost, logits)[0].movedim(1, -1))
    changed = (grads[0] != grads[1]).any(-1)
    assert torch.equal(changed, border & (classes >= 0))


def test_all_pixels_left_out(pixels: tuple[Tensor, ...]) -> None:
    logits, classes, confidence, border = pixels
    logits.requires_grad_()
    cost = CWBass().cost(logits, torch.full_like(classes, -1), confidence, border, 1.0)
    assert float(cost.detach()) == 0
    assert torch.equal(torch.autograd.grad(cost, logits)[0], torch.zeros_like(logits))


def test_the_confidence_of_pixels_left_out_does_not_count(pixels: tuple[Tensor, ...]) -> None:
    logits, classes, confidence, border = pixels
    other = torch.where(classes < 0, torch.rand_like(confidence), confidence)
    costs = [CWBass().cost(logits, classes, c, border, 1.0) for c in (confidence, other)]
    assert torch.equal(*costs)


def test_pixels_at_the_threshold_are_left_out() -> None:
    classes, confidence = torch.tensor([[[0, 1, 2]]]), torch.tensor([[[0.2, 0.5, 0.8]]])
    kept = CWBass().kept(classes, confidence, torch.tensor(0.5))
    assert kept.tolist() == [[[-1, -1, 2]]]


@pytest.mark.parametrize("progress", [0.0, 0.03125, 0.5])
def test_the_step_on_line(progress: float, started: Callable[..., PixelRun]) -> None:
    method = CWBass(**SMALL, base_threshold=1.0, slope=0.01, decay=0.9)
    run = started(method, progress=progress)
    before = run.draws.state_dict()
    found = method.loss(run)
    run.draws.load_state_dict(before)
    seen = method.weak(run, run.batch.unlabelled.images)
    valid = seen.geometry.valid()
    with torch.no_grad():
        confidence, said = run.teacher(seen.images).softmax(1).max(1)
    mean = confidence[valid].mean()
    limit = (1 / (1 + torch.exp(-0.01 * (mean - 0.5)))).clamp(0.3, 0.8)
    proposed = torch.where(valid, said, -1)
    kept = torch.where(confidence > limit, proposed, -1)
    assert 0 < int((kept >= 0).sum()) < int(valid.sum())
    # Borders are those before the threshold.
    border = label_borders(proposed, 3)
    each = F.cross_entropy(run.student(seen.images), kept.clamp_min(0), reduction="none")
    cost = (each * 0.9 * confidence)[kept >= 0].mean()
    cost = cost + 0.5 * each[(kept >= 0) & border].mean()
    ramp = min(1.0, progress / 0.0625)
    assert torch.allclose(found, method.supervised(run) + ramp * cost, atol=1e-6)


def test_covered_pixels_have_no_class(started: Callable[..., PixelRun]) -> None:
    method = CWBass(**SMALL, colours=True)
    run = started(method)
    images = torch.full((40, 3, 24, 32), 100, dtype=torch.uint8)
    strong, classes = method.covered(run, images, torch.zeros(40, 24, 32, dtype=torch.int64))
    hidden = (classes < 0).flatten(1).float().mean(1)
    assert 10 <= int((hidden > 0).sum()) <= 30
    assert float(hidden.max()) <= 0.41
    # One colour stays one where nothing covers it, and noise is noise.
    for view, own in zip(strong, classes, strict=True):
        assert view[:, own >= 0].float().std(1).max() < 1.5
        if bool((own < 0).any()):
            assert view[:, own < 0].float().std(1).min() > 40


def test_the_student_is_the_result(started: Callable[..., PixelRun]) -> None:
    method = CWBass(**SMALL)
    run = started(method)
    assert method.final(run) is run.student
    assert method.step(run)
    method.after(run)
    buffers = zip(run.teacher.buffers(), run.student.buffers(), strict=True)
    assert all(torch.equal(own, other) for own, other in buffers)


def test_an_average_that_begins_with_few_steps_is_not_slow(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 9)
    CWBass(**SMALL, ema=0.999).train(trainer)
    assert "slow-teacher" not in {finding.code for finding in trainer.health.findings()}


def test_students_teach_and_no_average() -> None:
    with pytest.raises(ValidationError, match="ema"):
        CWBassStages(ema=0.99)


def test_the_steadily_labelled_come_first(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 6)
    method = CWBassStages(**SMALL, reliable=0.25)
    run = _Labeller(**SMALL).train(trainer)
    chosen = method.steady(trainer, run)
    images = maps_data.unlabelled.pixels.batch(torch.arange(8))
    first, second = run.parts["earlier"]
    assert not torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(second.head.weight, run.student.head.weight)
    with torch.no_grad():
        maps = [net.eval()(images).argmax(1) for net in (first, second, run.student)]
    score = prediction_stability(torch.stack(maps[:2]), maps[2], 3)
    assert len(chosen) == 2
    others = torch.ones(8, dtype=torch.bool)
    others[chosen] = False
    assert float(score[chosen].min()) >= float(score[others].max())


def test_stages_learn_rectangles(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    for method in (
        CWBass(**SMALL, ema=0.9, scale=(1.0, 1.0)),
        CWBassStages(**SMALL, scale=(1.0, 1.0), ranking=False),
    ):
        trainer = pixel_trainer_for(maps_data, 80)
        found = trainer.measure(method.fit(trainer.data, trainer).model, trainer.data.test)
        assert found["miou"] > 0.4, (method.card.name, found)


@pytest.mark.parametrize(
    "method",
    [CWBass(**SMALL), CWBassStages(**SMALL), CWBassStages(**SMALL, ranking=False)],
    ids=["online", "stages", "two-stages"],
)
def test_a_resumed_run_ends_bit_identical(
    method: CWBass | CWBassStages,
    maps_data: Data[PixelMaps],
    assert_resumes: Callable[..., Fitted],
    tmp_path: Path,
) -> None:
    assert_resumes(method, maps_data, 15, tmp_path, breaks=(0.45, 0.95))
