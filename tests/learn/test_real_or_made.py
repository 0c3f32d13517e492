"""The losses of who tells real pictures from made ones, and of what is to deceive it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from leaven.errors import ConfigError
from leaven.learn import discriminator_loss, judging, realism_loss


def test_where_nothing_is_told_apart() -> None:
    nothing = torch.zeros(2, 1, 3, 3)
    assert discriminator_loss(nothing, nothing).item() == pytest.approx(math.log(2))
    assert 2 * discriminator_loss(nothing, nothing).item() == pytest.approx(2 * math.log(2))
    assert realism_loss(nothing).item() == pytest.approx(math.log(2))
    half = torch.full((2, 1, 3, 3), 0.5)
    assert discriminator_loss(half, half, "least-squares").item() == pytest.approx(0.25)
    assert realism_loss(half, "least-squares").item() == pytest.approx(0.25)


def test_every_cell_is_judged_for_itself() -> None:
    real, made = torch.randn(2, 2, 1, 4, 4, dtype=torch.float64)
    wanted = (-real.sigmoid().log().mean() - (1 - made.sigmoid()).log().mean()) / 2
    torch.testing.assert_close(discriminator_loss(real, made), wanted)
    torch.testing.assert_close(realism_loss(made), -made.sigmoid().log().mean())
    # The loss of a mean of scores is another one.
    assert abs(realism_loss(made) - realism_loss(made.mean())) > 1e-3


def test_it_does_not_saturate() -> None:
    scores = torch.full((1, 1, 2, 2), -20.0, requires_grad=True)
    realism_loss(scores).backward()
    assert scores.grad is not None
    # 1 - sigmoid of every cell, over 4; log(1 - D) would have a gradient of 2e-9.
    torch.testing.assert_close(scores.grad, torch.full_like(scores, -0.25))


def test_who_gets_a_gradient() -> None:
    maker, critic = nn.Conv2d(1, 1, 1), nn.Conv2d(2, 1, 3)
    x = torch.rand(2, 1, 6, 6)
    made = maker(x)
    discriminator_loss(
        critic(torch.cat([x, x], 1)), critic(torch.cat([x, made.detach()], 1))
    ).backward()
    assert maker.weight.grad is None
    assert critic.weight.grad is not None and critic.weight.grad.abs().sum() > 0
    critic.zero_grad()
    with judging(critic):
        loss = realism_loss(critic(torch.cat([x, made], 1)))
    loss.backward()
    assert critic.weight.grad is None
    assert maker.weight.grad is not None and maker.weight.grad.abs().sum() > 0


def test_an_unknown_game() -> None:
    with pytest.raises(ConfigError, match="'chess'"):
        realism_loss(torch.zeros(1), "chess")  # type: ignore[arg-type]
