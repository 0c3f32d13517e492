"""Budgets, schedules, averages, guards and thread choice by closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from leaven.errors import ConfigError
from leaven.train import (
    EMA,
    Budget,
    Keep,
    Optimizer,
    Recipe,
    WeightAverage,
    refresh_batch_norm,
    threads,
)
from leaven.train.guard import BufferGuard
from leaven.train.meter import Meter


@pytest.mark.parametrize(
    ("text", "steps", "seconds"),
    [
        ("900", 900, None),
        ("1_000 steps", 1000, None),
        (5, 5, None),
        ("45s", None, 45),
        ("1h30m", None, 5400),
        ("0.5 m", None, 30),
    ],
)
def test_budgets_are_read(text: str | int, steps: int | None, seconds: float | None) -> None:
    assert Budget.parse(text) == Budget(steps, seconds)


@pytest.mark.parametrize("text", ["", "ten", "-5", "0", "10 parsecs", "1.5", "0s"])
def test_bad_budgets_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        Budget.parse(text)


@given(st.integers(1, 10**6), st.floats(0.01, 1))
def test_a_share_of_steps_is_at_least_one(steps: int, share: float) -> None:
    part = Budget(steps=steps).share(share)
    assert part.steps is not None and 1 <= part.steps <= steps
    assert part.progress(part.steps, 0) == 1.0


def test_schedules_have_their_closed_forms() -> None:
    cosine = Recipe(schedule="cosine")
    assert [cosine.factor(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    inverse = Recipe(schedule="inverse")
    assert [inverse.factor(p) for p in (0, 1)] == pytest.approx([1, 11**-0.75])
    seven = Recipe(schedule="cosine-7/16")
    assert seven.factor(1) == pytest.approx(math.cos(7 * math.pi / 16))
    step = Recipe(schedule="step", milestones=(0.5, 0.75))
    assert [step.factor(p) for p in (0.4, 0.6, 0.8)] == pytest.approx([1, 0.1, 0.01])
    late = Recipe(schedule="constant", wait=0.5, warmup=0.5)
    assert [late.factor(p) for p in (0.49, 0.5, 0.625, 0.75, 1)] == pytest.approx([0, 0, 0.5, 1, 1])


def test_norms_and_biases_are_not_decayed() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = Optimizer([model], Recipe(weight_decay=0.1))
    decays = {group["weight_decay"]: len(group["params"]) for group in optimizer.torch.param_groups}
    assert decays == {0.1: 1, 0.0: 3}


def test_ema_follows_its_formula_and_copies_batch_statistics() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    ema = EMA(model, 0.9, warm_up=False)
    start = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight += 1
        model[1].running_mean += 5
    ema.update(model)
    torch.testing.assert_close(ema.module[0].weight, start + 0.1)
    torch.testing.assert_close(ema.module[1].running_mean, torch.full((2,), 5.0))
    assert not any(p.requires_grad for p in ema.module.parameters())
    averaged = EMA(nn.BatchNorm1d(2), 0.75, average_buffers=True, warm_up=False)
    other = nn.BatchNorm1d(2)
    other.running_mean += 4
    averaged.update(other)
    torch.testing.assert_close(averaged.module.running_mean, torch.full((2,), 1.0))


def test_ema_warms_up() -> None:
    model = nn.Linear(1, 1, bias=False)
    ema = EMA(model, 0.999)
    with torch.no_grad():
        ema.module.weight.zero_()
        model.weight.fill_(11.0)
    ema.update(model)
    assert float(ema.module.weight.detach()) == pytest.approx(11 * (1 - 2 / 11))


def test_weight_average_is_the_mean() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model)
    values = [torch.randn(2, 2) for _ in range(5)]
    for value in values:
        with torch.no_grad():
            model.weight.copy_(value)
        average.update(model)
    torch.testing.assert_close(average.module.weight, torch.stack(values).mean(0))
    assert average.state_dict()["count"] == 5


def test_refreshed_batch_norm_holds_the_mean_over_batches() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5)).train()
    model[0].running_mean.fill_(99)
    batches = [torch.randn(8, 1, 2, 2) + i for i in range(3)]
    refresh_batch_norm(model, batches)
    expected = torch.stack([batch.mean() for batch in batches]).mean()
    torch.testing.assert_close(model[0].running_mean[0], expected)
    assert model[0].momentum == 0.1 and model[0].training and model[1].training


def test_refreshing_reads_nothing_without_batch_norm() -> None:
    def never() -> object:
        raise AssertionError("read")
        yield

    refresh_batch_norm(nn.Linear(1, 1), never())  # type: ignore[arg-type]


def test_the_guard_takes_back_buffers_only() -> None:
    norm = nn.BatchNorm1d(2)
    guard = BufferGuard([norm, object()])
    guard.remember()
    with torch.no_grad():
        norm.running_mean.fill_(math.nan)
        norm.weight.fill_(3)
    guard.take_back()
    torch.testing.assert_close(norm.running_mean, torch.zeros(2))
    assert bool((norm.weight == 3).all())


def test_the_meter_leaves_out_what_is_not_finite() -> None:
    meter = Meter()
    meter.add({"a": torch.tensor(1.0), "b": torch.tensor(math.nan)})
    assert meter.not_finite() == ["b"]
    meter.add({"a": torch.tensor(3.0), "b": torch.tensor(5.0)})
    values, _ = meter.flush()
    assert values == {"a": 2.0, "b": 5.0}
    assert meter.flush()[0] == {}


def test_the_fastest_number_of_threads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(threads.time, "perf_counter", lambda: now[0])

    def work(spent: dict[int, float]) -> Callable[[], None]:
        def step() -> None:
            now[0] += spent[torch.get_num_threads()]

        return step

    before = torch.get_num_threads()
    assert threads.fastest([1, 2, 4], work({1: 4.0, 2: 1.0, 4: 10.0}), seconds=60) == 2
    assert threads.fastest([1, 2], work({1: 1.0, 2: 1.0}), seconds=60) == 1
    assert threads.fastest([1, 2], work({1: 1.0, 2: 0.96}), seconds=60) == 1
    assert threads.fastest([1, 2], work({1: 1.0, 2: 0.94}), seconds=60) == 2
    assert threads.fastest([1, 2], work({1: 4.0, 2: 1.0}), seconds=0) == 2
    assert torch.get_num_threads() == before


def test_thread_counts_to_try_double_up_to_the_cores() -> None:
    assert threads.candidates(1) == [1]
    assert threads.candidates(2) == [1, 2]
    assert threads.candidates(6) == [1, 2, 4, 6]


def test_kept_values_have_to_be_named() -> None:
    kept = Keep(best=None)
    kept.best = 3
    with pytest.raises(AttributeError, match="other"):
        kept.other = 1
    copy = Keep(best=0)
    copy.load_state_dict(kept.state_dict())
    assert copy.best == 3


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("name", ["lr", "weight_decay", "clip", "milestones"])
def test_figures_of_a_recipe_are_finite(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Recipe(**{name: (value,) if name == "milestones" else value})
