"""The information that outputs carry about pictures."""

import math

import torch

from leaven.learn import information_loss


def test_sure_and_different_outputs_carry_log_k() -> None:
    logits = 1e4 * torch.eye(5).repeat(3, 1)
    torch.testing.assert_close(information_loss(logits), torch.tensor(-math.log(5)))


def test_the_same_output_everywhere_carries_nothing() -> None:
    logits = torch.randn(1, 4).expand(6, 4)
    torch.testing.assert_close(information_loss(logits), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(information_loss(logits[:1]), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_it_is_the_entropy_of_each_less_that_of_the_mean() -> None:
    probs = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
    each = (math.log(2) + 1.5 * math.log(2)) / 2
    mean = [0.375, 0.375, 0.25]
    expected = each + sum(p * math.log(p) for p in mean)
    torch.testing.assert_close(information_loss(probs.log()), torch.tensor(expected))


def test_its_gradient_makes_a_batch_sure_and_spread() -> None:
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    logits.requires_grad_(True)
    optimizer = torch.optim.SGD([logits], 5.0)
    for _ in range(150):
        optimizer.zero_grad()
        information_loss(logits).backward()
        optimizer.step()
    assert float(logits.detach().softmax(1).max(1).values.min()) > 0.9
    assert bool((torch.bincount(logits.argmax(1), minlength=3) >= 3).all())


def test_nothing_and_half_precision() -> None:
    assert float(information_loss(torch.zeros(0, 3))) == 0
    found = information_loss(torch.eye(3, dtype=torch.bfloat16) * 100)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(-math.log(3)))
