"""BCP: labelled and unlabelled pixels in one picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from leaven.data import Data
from leaven.data.pixel_maps import PixelMaps
from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.learn import batch_box, masked_loss, mix
from leaven.methods import Fitted
from leaven.methods.segmentation.bcp import BCP
from leaven.methods.segmentation.few_maps import PixelRun
from leaven.refine import largest_components
from leaven.train import Recipe
from leaven.train.pixel_trainer import PixelTrainer

RECIPE = Recipe(optimizer="adamw", lr=0.02, schedule="poly")
SMALL: dict[str, Any] = {"batch": 4, "recipe": RECIPE}


@pytest.fixture
def maps_data(maps_data: Data[PixelMaps]) -> Data[PixelMaps]:
    """The rectangles on what is called background."""
    return dataclasses.replace(maps_data, classes=("background", "red", "green"))


def seen_again(method: BCP, begun: PixelRun) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Views, labels, box and pseudo-labels of a step whose draws begin anew."""
    images, classes = method.labelled(begun)
    box = batch_box((24, 32), begun.draws, method.box_side)
    seen = method.weak(begun, begun.batch.unlabelled.images)
    with torch.no_grad():
        said = torch.cat([begun.teacher(half).argmax(1) for half in seen.images.chunk(2)])
    said = torch.where(seen.geometry.valid(), said, -1)
    return images, classes, box, seen.images, largest_components(said, 3)


def test_the_step_is_that_of_the_paper(started: Callable[..., PixelRun]) -> None:
    method = BCP(**SMALL)
    begun = started(method, progress=0.5)
    before = begun.draws.state_dict()
    found = method.loss(begun)
    begun.draws.load_state_dict(before)
    x, y, box, u, p = seen_again(method, begun)
    mask = ~box
    inward, outward = begun.student, begun.student
    t_in = torch.where(mask, p[:2], y[:2])
    t_out = torch.where(mask, y[2:], p[2:])
    x_in = torch.where(mask[:, None], u[:2], x[:2])
    x_out = torch.where(mask[:, None], x[2:], u[2:])
    # The mixed picture is its source at every pixel, and so are the targets.
    assert torch.equal(mix(box, u[:2], x[:2]), x_in)
    assert torch.equal(mix(box, y[2:], p[2:]), t_out)
    z_in, z_out = inward(x_in), outward(x_out)
    expected = (
        0.5 * masked_loss(z_in, t_in, mask)
        + masked_loss(z_in, t_in, box)
        + masked_loss(z_out, t_out, mask)
        + 0.5 * masked_loss(z_out, t_out, box)
    )
    assert torch.allclose(found, expected)


def test_without_a_box_each_loss_has_one_source(started: Callable[..., PixelRun]) -> None:
    method = BCP(**SMALL, box_side=0.0)
    begun = started(method, progress=0.5)
    before = begun.draws.state_dict()
    found = method.loss(begun)
    begun.draws.load_state_dict(before)
    x, y, box, u, p = seen_again(method, begun)
    assert not box.any()
    inward = 0.5 * masked_loss(begun.student(u[:2]), p[:2], ~box)
    outward = masked_loss(begun.student(x[2:]), y[2:], ~box)
    assert torch.allclose(found, inward + outward)


def test_stage_one_has_labels_alone(started: Callable[..., PixelRun]) -> None:
    method = BCP(**SMALL)
    begun = started(method, progress=0.2)
    before = begun.draws.state_dict()
    found = method.loss(begun)
    begun.draws.load_state_dict(before)
    x, y = method.labelled(begun)
    box = batch_box((24, 32), begun.draws)
    mixed, target = mix(box, x[:2], x[2:]), mix(box, y[:2], y[2:])
    logits = begun.student(mixed)
    parts = [masked_loss(logits, target, region) for region in (box, ~box)]
    assert torch.allclose(found, parts[0] + parts[1])
    # The teacher is the student until stage 2 begins.
    assert method.step(begun)
    method.after(begun)
    for own, other in zip(
        begun.teacher.state_dict().values(), begun.student.state_dict().values(), strict=True
    ):
        assert torch.equal(own, other)


def test_a_resting_student_is_approached_by_powers_of_the_decay(
    started: Callable[..., PixelRun],
) -> None:
    method = BCP(**SMALL)
    begun = started(method, progress=0.5)
    for parameter in begun.student.double().parameters():
        parameter.data += torch.randn_like(parameter)
    begun.teacher.double()
    gaps = [
        own - other
        for own, other in zip(begun.teacher.parameters(), begun.student.parameters(), strict=True)
    ]
    for _ in range(7):
        method.after(begun)
    for own, other, gap in zip(
        begun.teacher.parameters(), begun.student.parameters(), gaps, strict=True
    ):
        assert torch.allclose(own - other, gap * 0.99**7, rtol=1e-9, atol=1e-12)


def test_the_teacher_has_no_gradient_and_its_own_batch_statistics(
    started: Callable[..., PixelRun],
) -> None:
    method = BCP(**SMALL)
    begun = started(method, progress=0.5)
    assert begun.teacher.training
    buffers = {name: b.clone() for name, b in begun.teacher.named_buffers()}
    method.loss(begun).backward()
    assert all(p.grad is None for p in begun.teacher.parameters())
    moved = [name for name, b in begun.teacher.named_buffers() if not torch.equal(b, buffers[name])]
    assert any(name.endswith("running_mean") for name in moved)


@pytest.mark.parametrize("size", [(24, 24), (20, 32)])
def test_weak_views_turn_and_mirror(
    size: tuple[int, int], started: Callable[..., PixelRun]
) -> None:
    method = BCP(**SMALL)
    begun = started(method)
    begun.trainer.draws = Draws(0)
    images = torch.randint(0, 256, (200, 3, *size), dtype=torch.uint8)
    seen = method.weak(begun, images)
    exact = seen.geometry.exact
    same = torch.tensor([torch.equal(a, b) for a, b in zip(images, seen.images, strict=True)])
    turned = exact & ~same
    # Half are turned by quarters and mirrored, a quarter is as it was, a quarter turned by degrees.
    assert 70 <= int(turned.sum()) <= 120
    assert 30 <= int((~exact).sum()) <= 70
    for image, view in zip(images[turned], seen.images[turned], strict=True):
        known = [image.flip(1), image.flip(2)]
        if size[0] == size[1]:
            known += [image.rot90(1, (1, 2)).flip(1), image.rot90(1, (1, 2)).flip(2)]
        assert any(torch.equal(view, one) for one in known)
    assert seen.geometry.valid()[exact].all()


@pytest.mark.parametrize(("names", "background"), [("aBb", None), ("abB", 2), ("Bab", 0)])
def test_what_is_cut_off_becomes_background(
    names: str,
    background: int | None,
    maps_data: Data[PixelMaps],
    pixel_trainer_for: Callable[..., PixelTrainer],
    started: Callable[..., PixelRun],
) -> None:
    classes = tuple("Background" if name == "B" else name for name in names)
    if background is None:
        classes = ("sky", "car", "road")
        data = dataclasses.replace(maps_data, classes=classes)
        with pytest.raises(ConfigError, match=r"(?s)no class is called background.*largest=false"):
            BCP(**SMALL).student(pixel_trainer_for(data, 2))
        BCP(**SMALL, largest=False).student(pixel_trainer_for(data, 2))
        return
    begun = started(BCP(**SMALL))
    begun.student.spec = dataclasses.replace(begun.student.spec, classes=classes)
    seen = BCP(**SMALL).weak(begun, begun.batch.unlabelled.images)
    found, _ = BCP(**SMALL).propose(begun, seen)
    said, _ = BCP(**SMALL, largest=False).propose(begun, seen)
    assert not torch.equal(found, said)
    assert torch.equal(found, largest_components(said, 3, background))


@pytest.mark.parametrize(
    "value", [{"scale": (0.5, 2.0)}, {"hard_threshold": 0.5}, {"hard_least": 7}]
)
def test_what_would_do_nothing_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"never scaled|whole regions"):
        BCP(**value)
    assert BCP(scale=(1.0, 1.0), hard_least=100_000).scale == (1.0, 1.0)


def test_halves_need_an_even_number() -> None:
    with pytest.raises(ValidationError, match="multiple of 2"):
        BCP(batch=3)


def test_it_learns_rectangles(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 60)
    fitted = BCP(**SMALL, ema=0.9).fit(trainer.data, trainer)
    found = trainer.measure(fitted.model, trainer.data.test)
    assert found["miou"] > 0.5, found


def test_a_resumed_run_ends_bit_identical(
    maps_data: Data[PixelMaps], assert_resumes: Callable[..., Fitted], tmp_path: Path
) -> None:
    assert_resumes(BCP(**SMALL, pretrain=0.5), maps_data, 8, tmp_path)
