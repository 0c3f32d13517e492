"""FST: virtual steps, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from leaven.data import Data, Sample
from leaven.data.pixel_maps import PixelMaps
from leaven.errors import ConfigError
from leaven.methods import Fitted, find_method
from leaven.methods.loop import Run
from leaven.methods.segmentation.entropy_teacher import EntropyTeacher
from leaven.methods.segmentation.few_maps import FewMaps, PixelRun
from leaven.methods.segmentation.fst import FSTDeep, FSTWide
from leaven.train import EMA, Optimizer, Recipe, Rollback
from leaven.train.batch import Batch
from leaven.train.pixel_trainer import PixelTrainer

RATE, DECAY = 0.25, 0.75
SMALL: dict[str, Any] = {
    "batch": 2,
    "ema": 0.9,
    "recipe": Recipe(optimizer="adamw", lr=0.02, schedule="poly"),
}


class Point(nn.Module):
    """One place s in the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.tensor([4.0, -2.0], dtype=torch.float64))


class Spring(FewMaps):
    """``1/2 |s - c|^2`` with c from the batch: a step goes ``RATE`` of the way to c."""

    passes: ClassVar[list[int]] = []

    def average(self, student: Any) -> Any:
        return EMA(student, DECAY, warm_up=False)

    def loss(self, run: PixelRun) -> Tensor:
        point = run.student
        assert isinstance(point, Point)
        run.trainer.observe(losses={"spring": point.s.detach().sum()})
        Spring.passes.append(1)
        return 0.5 * (point.s - run.batch.labelled.images).square().sum()


class Deep(FSTDeep):
    @cached_property
    def host(self) -> FewMaps:
        return Spring()


class Wide(FSTWide):
    @cached_property
    def host(self) -> FewMaps:
        return Spring()


SGD = Recipe(optimizer="sgd", lr=RATE, momentum=0.0, weight_decay=0.0, schedule="constant")


@pytest.fixture
def spring(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> Callable[..., PixelRun]:
    """A run at step 5 on a spring; ``spring(c, c of branch 0, ..., recipe=SGD)``."""

    def start(*centres: tuple[float, float], recipe: Recipe = SGD) -> PixelRun:
        Spring.passes.clear()
        point: Any = Point()
        average: Any = EMA(point, DECAY, warm_up=False)
        average.module.s.data += 1.0
        names = ["labelled", *(f"labelled/{number}" for number in range(len(centres) - 1))]
        nothing = torch.zeros(1, dtype=torch.int64)
        streams = {
            name: Sample(torch.tensor(centre, dtype=torch.float64), nothing, nothing)
            for name, centre in zip(names, centres, strict=True)
        }
        trainer = pixel_trainer_for(maps_data, 9)
        optimizer = Optimizer([point], recipe)
        return Run(trainer, point, average, nn.ModuleDict(), optimizer, Batch(5, 0.5, streams))

    return start


def s_of(net: Any) -> Tensor:
    return net.s.detach().clone()


# -- closed forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3])
def test_deep_steps_on_a_spring(count: int, spring: Callable[..., PixelRun]) -> None:
    run = spring((1.0, 3.0))
    c, s0, t0 = torch.tensor([1.0, 3.0]).double(), s_of(run.student), s_of(run.teacher)
    method = Deep(steps=count)
    assert method.foresee(run, Rollback(run.optimizer)) is not None
    went = [c + (1 - RATE) ** j * (s0 - c) for j in range(count + 1)]
    expected = DECAY ** (count + 1) * t0
    for j, s in enumerate(went):
        expected = expected + (1 - DECAY) * DECAY ** (count - j) * s
    assert torch.equal(s_of(run.student), s0)
    assert torch.allclose(s_of(run.teacher), expected)
    assert not torch.equal(s_of(run.teacher), t0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_real_step_is_the_hosts(count: int, spring: Callable[..., PixelRun]) -> None:
    run = spring((1.0, 3.0))
    c, s0 = torch.tensor([1.0, 3.0]).double(), s_of(run.student)
    method = Deep(steps=count)
    backward: list[int] = []
    point: Any = run.student
    point.s.register_hook(lambda gradient: backward.append(1))
    assert method.step(run)
    assert torch.allclose(s_of(run.student), c + (1 - RATE) * (s0 - c))
    assert len(backward) == len(Spring.passes) == count + 1 == method.gradients
    before = s_of(run.teacher)
    method.after(run)
    assert torch.allclose(s_of(run.teacher), DECAY * before + (1 - DECAY) * s_of(run.student))


def test_without_virtual_steps_only_the_average_moves_to_the_front(
    spring: Callable[..., PixelRun],
) -> None:
    run, plain = spring((1.0, 3.0)), spring((1.0, 3.0))
    method = Deep(steps=0, closing=False)
    for _ in range(3):
        method.step(run)
        method.after(run)
        plain.average.update(plain.student)
        Spring().step(plain)
    assert torch.equal(s_of(run.student), s_of(plain.student))
    assert torch.equal(s_of(run.teacher), s_of(plain.teacher))


def test_the_rise_of_the_decay_goes_by_real_steps_or_by_all_passes(
    spring: Callable[..., PixelRun],
) -> None:
    run = spring((1.0, 3.0))
    deep = Deep(steps=3, counted="passes", closing=False)
    assert [Deep(steps=3).updates(run, passes) for passes in (0, 3, 4)] == [5, 5, 5]
    assert [deep.updates(run, passes) for passes in (0, 3, 4)] == [20, 23, 24]
    # Step 5 at half of the run, of which a fifth are plain steps.
    late = Deep(steps=3, counted="passes", start=0.2)
    assert late.updates(run, 0) == 2 + 3 * 4
    assert late.updates(run, late.gradients) == 2 + 4 * 4
    deep.step(run)
    # Every update counts one: the next one is that of the next step.
    assert run.average.updates == 24 == deep.updates(replace(run, batch=Batch(6, 0.6, {})), 0)


def test_wide_steps_enter_as_their_mean(spring: Callable[..., PixelRun]) -> None:
    centres = [(1.0, 3.0), (0.0, 0.0), (8.0, 2.0), (-5.0, 1.0)]
    run = spring(*centres)
    s0, t0 = s_of(run.student), s_of(run.teacher)
    method = Wide(branches=3)
    assert method.step(run)
    c, *others = (torch.tensor(centre).double() for centre in centres)
    ends = torch.stack([s0 + RATE * (other - s0) for other in others])
    assert torch.allclose(s_of(run.teacher), DECAY * t0 + (1 - DECAY) * ends.mean(0))
    assert torch.allclose(s_of(run.student), s0 + RATE * (c - s0))
    assert len(Spring.passes) == 4


def test_wide_steps_on_equal_batches_are_one_virtual_step(spring: Callable[..., PixelRun]) -> None:
    run, plain = spring(*[(1.0, 3.0)] * 4), spring((1.0, 3.0))
    assert Wide(branches=3).step(run)
    start = Rollback(plain.optimizer)
    Spring().step(plain)
    plain.average.update(plain.student)
    start.restore()
    Spring().step(plain)
    assert torch.equal(s_of(run.student), s_of(plain.student))
    assert torch.allclose(s_of(run.teacher), s_of(plain.teacher))


def test_steps_of_no_length_move_nothing(spring: Callable[..., PixelRun]) -> None:
    run = spring((1.0, 3.0), recipe=SGD.model_copy(update={"wait": 0.9}))
    s0 = s_of(run.student)
    assert Deep(steps=3).step(run)
    assert torch.equal(s_of(run.student), s0)


@pytest.mark.parametrize("kind", [Deep, Wide])
def test_everything_may_be_put_back(
    kind: type[Deep | Wide], spring: Callable[..., PixelRun]
) -> None:
    adam = Recipe(optimizer="adamw", lr=0.1, schedule="constant")
    centres = [(1.0, 3.0), (0.0, 0.0), (8.0, 2.0), (-5.0, 1.0)][: 1 if kind is Deep else 4]
    counts = {}
    for restore in ("all", "params"):
        run, plain = spring(*centres, recipe=adam), spring((1.0, 3.0), recipe=adam)
        for _ in range(2):
            assert kind(restore=restore).step(run)
            assert Spring().step(plain)
        own, other = (each.optimizer.torch.state_dict()["state"][0] for each in (run, plain))
        counts[restore] = float(own["step"])
        same = all(torch.equal(own[name], other[name]) for name in other)
        assert same == (restore == "all")
        assert torch.equal(s_of(run.student), s_of(plain.student)) == (restore == "all")
    assert counts == {"all": 2, "params": 8}


def test_a_virtual_step_that_fails_moves_nothing(
    spring: Callable[..., PixelRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (Deep, Wide):
        run = spring(*[(1.0, 3.0)] * 4)
        s0 = s_of(run.student)
        real = Spring.loss

        def broken(self: Spring, run: PixelRun, real: Any = real) -> Tensor:
            loss = real(self, run)
            return loss * float("nan") if len(Spring.passes) == 2 else loss

        with monkeypatch.context() as patch:
            patch.setattr(Spring, "loss", broken)
            assert not kind().step(run)
        assert torch.equal(s_of(run.student), s0)


def test_curves_know_the_real_step_alone(
    spring: Callable[..., PixelRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (Deep, Wide):
        run = spring(*[(1.0, 3.0)] * 4)
        seen: list[dict[str, Tensor]] = []
        s0 = s_of(run.student).sum()
        monkeypatch.setattr(run.trainer, "observe", lambda losses, seen=seen: seen.append(losses))
        assert kind().step(run)
        assert [float(losses["spring"]) for losses in seen] == [float(s0)]


# -- on a network ------------------------------------------------------------------------------------


def test_the_decay_follows_real_steps(started: Callable[..., PixelRun]) -> None:
    method = FSTDeep(**SMALL)
    run = started(method, step=3)
    before = [p.clone() for p in run.teacher.parameters()]
    for parameter in run.student.parameters():
        parameter.data += 1.0
    method.follow(run, run.student, 2)
    # 1 - 1 / (3 + 1) is below the highest decay.
    for old, new, s in zip(before, run.teacher.parameters(), run.student.parameters(), strict=True):
        assert torch.allclose(new, 0.75 * old + 0.25 * s, atol=1e-6)


def test_all_passes_see_the_same_views_and_mix_them_anew(
    started: Callable[..., PixelRun],
) -> None:
    method = FSTDeep(**SMALL, base_set={"cutmix": 1.0})
    run = started(method, progress=0.5, step=4)
    clean: list[Tensor] = []
    learned: list[Tensor] = []
    run.teacher.register_forward_pre_hook(
        lambda net, inputs: None if net.training else clean.append(inputs[0])
    )
    run.student.register_forward_pre_hook(lambda net, inputs: learned.append(inputs[0]))
    assert method.step(run)
    assert len(clean) == len(learned) == 4
    assert all(torch.equal(clean[0], other) for other in clean[1:])
    labelled, mixed = zip(*(each.split(2) for each in learned), strict=True)
    assert all(torch.equal(labelled[0], other) for other in labelled[1:])
    assert any(not torch.equal(mixed[0], other) for other in mixed[1:])
    # The next batch is seen anew.
    assert method.step(run)
    assert not torch.equal(clean[4], clean[0])


def test_branches_have_batches_of_their_own(started: Callable[..., PixelRun]) -> None:
    method = FSTWide(**SMALL)
    run = started(method, progress=0.5)
    seen: list[Tensor] = []
    run.student.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    assert method.step(run)
    assert len(seen) == 4
    assert set(run.batch.streams) == {
        f"{name}{end}" for name in ("labelled", "unlabelled") for end in ("", "/0", "/1", "/2")
    }
    items = {tuple(sample.items.tolist()) for sample in run.batch.streams.values()}
    assert len(items) > 4


@pytest.mark.parametrize("kind", [FSTDeep, FSTWide])
def test_the_teacher_has_no_gradient(
    kind: type[FSTDeep | FSTWide], started: Callable[..., PixelRun]
) -> None:
    method = kind(**SMALL)
    run = started(method, progress=0.5)
    assert method.step(run)
    assert all(p.grad is None and not p.requires_grad for p in run.teacher.parameters())


@pytest.mark.parametrize(
    "base", ["supervised", "mean-teacher", "entropy-teacher", "dacs", "cw-bass", "cps", "bcp"]
)
def test_it_sits_on_any_step(base: str, started: Callable[..., PixelRun]) -> None:
    for kind in (FSTDeep, FSTWide):
        method = kind(base=base, batch=2, base_set={"largest": False} if base == "bcp" else {})
        run = started(method, progress=0.5)
        before = [p.detach().clone() for p in run.optimizer.parameters]
        assert method.step(run)
        method.after(run)
        moved = zip(before, run.optimizer.parameters, strict=True)
        assert all(not torch.equal(old, new) for old, new in moved if new.grad is not None)


def test_plain_steps_come_first(started: Callable[..., PixelRun]) -> None:
    method = FSTDeep(**SMALL, start=0.5)
    run = started(method, progress=0.4)
    seen: list[Tensor] = []
    run.student.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    assert method.step(run)
    assert len(seen) == 1


def test_fields_that_are_set_hold_for_the_host() -> None:
    host = FSTDeep(batch=6, base_set={"keep": 0.5}).host
    assert isinstance(host, EntropyTeacher)
    assert (host.batch, host.keep, host.ema) == (6, 0.5, 0.99)
    assert FSTDeep(base="bcp").host.recipe.optimizer == "sgd"


def test_a_host_needs_one_loop_of_steps() -> None:
    for base in ("cw-bass-stages", "fst"):
        with pytest.raises(ConfigError, match=f"cannot be put on {base}"):
            FSTDeep(base=base).host  # noqa: B018
    with pytest.raises(ConfigError, match="no method 'nothing'"):
        FSTDeep(base="nothing").host  # noqa: B018
    with pytest.raises(ConfigError, match="gradients of 2 batches"):
        FSTDeep(recipe=Recipe(accumulate=2)).host  # noqa: B018


@pytest.mark.parametrize(("name", "times"), [("fst", "steps"), ("fst-wide", "branches")])
def test_a_resumed_run_ends_bit_identical(
    name: str,
    times: str,
    maps_data: Data[PixelMaps],
    assert_resumes: Callable[..., Fitted],
    tmp_path: Path,
) -> None:
    method = find_method(name, "segmentation")(**SMALL, **{times: 2})
    fitted = assert_resumes(method, maps_data, 8, tmp_path)
    assert "3 gradients" in fitted.note


def test_it_learns_rectangles(
    maps_data: Data[PixelMaps], pixel_trainer_for: Callable[..., PixelTrainer]
) -> None:
    trainer = pixel_trainer_for(maps_data, 40)
    method = FSTDeep(**SMALL, scale=(1.0, 1.0), steps=1, base_set={"unlabelled_weight": 0.1})
    fitted = method.fit(trainer.data, trainer)
    found = trainer.measure(fitted.model, trainer.data.test)
    assert found["miou"] > 0.5, found
