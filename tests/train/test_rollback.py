"""Weights that go back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from leaven.train import Optimizer, Recipe, Rollback


def steps(net: nn.Module, optimizer: Optimizer, count: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        loss = net(torch.randn(6, 3, generator=generator)).square().mean()
        loss.backward()
        optimizer.torch.step()
        optimizer.zero_grad()


def made(kind: Any) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = Optimizer([net], Recipe(optimizer=kind, lr=0.05, schedule="constant"))
    return net, optimizer


def test_weights_alone() -> None:
    net, optimizer = made("adamw")
    steps(net, optimizer, 2)
    before = copy.deepcopy(net.state_dict())
    rollback = Rollback(optimizer)
    steps(net, optimizer, 3)
    rollback.restore()
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, before[name]), name
    after = net.state_dict()
    assert not torch.equal(after["1.running_mean"], before["1.running_mean"])
    assert int(after["1.num_batches_tracked"]) == 5
    assert all(float(s["step"]) == 5 for s in optimizer.torch.state_dict()["state"].values())


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("before", [0, 2])
def test_everything(kind: str, before: int) -> None:
    """What comes after trials is what comes without them, also after several of one start."""
    net, optimizer = made(kind)
    plain, plain_optimizer = made(kind)
    steps(net, optimizer, before)
    steps(plain, plain_optimizer, before)
    rollback = Rollback(optimizer, everything=True)
    for trial in (3, 1):
        steps(net, optimizer, trial)
        rollback.restore()
    steps(net, optimizer, 2)
    steps(plain, plain_optimizer, 2)
    for name, value in plain.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    own, other = (o.torch.state_dict()["state"] for o in (optimizer, plain_optimizer))
    assert own.keys() == other.keys()
    for number, state in other.items():
        for name, value in state.items():
            assert torch.equal(own[number][name], value), name
