"""Losses: torch and sums written out as references, closed forms, extreme logits, gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.learn import cross_entropy, entropy, instance_similarity_loss, mean_prior


@pytest.fixture
def logits() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (3 * torch.randn(6, 4, dtype=torch.float64, generator=generator)).requires_grad_()


CLASSES = torch.tensor([0, 3, 1, 1, 2, 0])
CLASS_WEIGHT = torch.tensor([1.0, 3.0, 0.5, 2.0], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0, 0.25], dtype=torch.float64)


def soft_targets(rows: int = 6, columns: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, columns, dtype=torch.float64, generator=generator).softmax(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.15])
@pytest.mark.parametrize("class_weight", [None, CLASS_WEIGHT])
def test_hard_targets_equal_torch(
    logits: Tensor, class_weight: Tensor | None, smoothing: float
) -> None:
    found = cross_entropy(logits, CLASSES, class_weight=class_weight, label_smoothing=smoothing)
    expected = F.cross_entropy(logits, CLASSES, class_weight, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_soft_targets_equal_torch(logits: Tensor, smoothing: float) -> None:
    found = cross_entropy(logits, soft_targets(), label_smoothing=smoothing)
    expected = F.cross_entropy(logits, soft_targets(), label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("class_weight", [None, CLASS_WEIGHT])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_hot_targets_equal_their_classes(
    logits: Tensor, class_weight: Tensor | None, smoothing: float
) -> None:
    options = {"class_weight": class_weight, "label_smoothing": smoothing, "weight": WEIGHT}
    one_hot = F.one_hot(CLASSES, 4).double()
    torch.testing.assert_close(
        cross_entropy(logits, one_hot, **options), cross_entropy(logits, CLASSES, **options)
    )


def test_the_general_form_equals_its_sum(logits: Tensor) -> None:
    targets, smoothing, logits = soft_targets(), 0.1, logits.detach()
    total, mass = 0.0, 0.0
    for i in range(6):
        log_probs = logits[i] - logits[i].exp().sum().log()
        for k in range(4):
            smooth = (1 - smoothing) * targets[i, k] + smoothing / 4
            total += float(-WEIGHT[i] * CLASS_WEIGHT[k] * smooth * log_probs[k])
            mass += float(CLASS_WEIGHT[k] * targets[i, k])
    found = cross_entropy(logits, targets, WEIGHT, CLASS_WEIGHT, smoothing)
    assert found.item() == pytest.approx(total / mass, abs=1e-12)


def test_masked_items_count_in_the_mean(logits: Tensor) -> None:
    each = F.cross_entropy(logits, CLASSES, reduction="none")
    found = cross_entropy(logits, CLASSES, WEIGHT)
    torch.testing.assert_close(found, (each * WEIGHT).sum() / 6)
    (gradient,) = torch.autograd.grad(found, logits)
    assert gradient[1].abs().sum() == 0 and gradient[0].abs().sum() > 0


def test_a_fully_masked_batch_has_loss_and_gradient_zero(logits: Tensor) -> None:
    loss = cross_entropy(logits, CLASSES, torch.zeros(6))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0 and gradient.abs().sum() == 0


@pytest.mark.parametrize("targets", [torch.empty(0, dtype=torch.long), torch.empty(0, 4)])
def test_an_empty_batch_has_loss_zero(targets: Tensor) -> None:
    empty = torch.empty(0, 4, requires_grad=True)
    losses = [cross_entropy(empty, targets), entropy(empty), mean_prior(empty)]
    losses.append(cross_entropy(empty, targets, class_weight=torch.ones(4)))
    for loss in losses:
        loss.backward()
        assert loss.item() == 0


def test_class_weights_that_are_all_zero_give_zero(logits: Tensor) -> None:
    assert cross_entropy(logits, CLASSES, class_weight=torch.zeros(4)).item() == 0


def test_a_single_class_has_nothing_to_learn() -> None:
    logits = torch.randn(3, 1)
    zero = torch.zeros(3, dtype=torch.long)
    for loss in (cross_entropy(logits, zero), entropy(logits), mean_prior(logits)):
        assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_logits_stay_finite(dtype: torch.dtype, size: float) -> None:
    logits = (size * torch.tensor([[1.0, -1, 0, 0], [-1, 1, 0, 0]])).to(dtype).requires_grad_()
    targets = torch.tensor([[0.0, 1, 0, 0], [0, 1, 0, 0]])
    for loss in (
        cross_entropy(logits, torch.tensor([1, 1])),
        cross_entropy(logits, targets),
        entropy(logits),
        mean_prior(logits),
    ):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite() and gradient.isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.arange(8) % 5
    found = cross_entropy(logits, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.cross_entropy(logits.float(), targets))


def test_entropy_is_zero_at_one_hot_and_log_k_at_uniform_outputs() -> None:
    assert float(entropy(1000 * torch.eye(5))) == 0
    assert float(entropy(torch.zeros(3, 5))) == pytest.approx(math.log(5))


def test_entropy_equals_its_sum(logits: Tensor) -> None:
    probs = logits.exp() / logits.exp().sum(1, keepdim=True)
    torch.testing.assert_close(entropy(logits), -(probs * probs.log()).sum() / 6)


def test_mean_prior_is_least_at_a_uniform_mean() -> None:
    balanced = 30 * torch.eye(4, dtype=torch.float64)
    assert float(mean_prior(balanced)) == pytest.approx(math.log(4))
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        other = torch.randn(4, 4, dtype=torch.float64, generator=generator)
        assert float(mean_prior(other)) > math.log(4)


def test_mean_prior_is_least_at_the_prior_given() -> None:
    prior = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    at_prior = prior.log().repeat(5, 1).requires_grad_()
    loss = mean_prior(at_prior, prior)
    (gradient,) = torch.autograd.grad(loss, at_prior)
    assert loss.item() == pytest.approx(float(-(prior * prior.log()).sum()))
    assert gradient.abs().max() < 1e-12


def test_mean_prior_equals_its_sum(logits: Tensor) -> None:
    mean = logits.softmax(1).mean(0)
    torch.testing.assert_close(mean_prior(logits), -(mean.log() / 4).sum())


def test_descent_on_mean_prior_raises_the_rarest_class_most() -> None:
    shares = torch.tensor([0.6, 0.3, 0.08, 0.02], dtype=torch.float64)
    logits = shares.log().repeat(6, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(mean_prior(logits), logits)
    moved = (logits - 0.1 * gradient).softmax(1).mean(0)
    growth = moved / shares
    assert growth.argmax() == 3 and growth[3] > 1 and growth[0] < 1


def test_instance_loss_equals_its_sum(logits: Tensor) -> None:
    targets = soft_targets()
    expected = -(targets * logits.softmax(1).log()).sum() / 6
    torch.testing.assert_close(instance_similarity_loss(logits, targets), expected)


def test_instance_loss_sends_no_gradient_to_its_target(logits: Tensor) -> None:
    targets = soft_targets().requires_grad_()
    instance_similarity_loss(logits, targets).backward()
    assert targets.grad is None and logits.grad is not None


def test_instance_loss_of_a_row_without_target_is_zero(logits: Tensor) -> None:
    targets = soft_targets()
    targets[0] = 0
    (gradient,) = torch.autograd.grad(instance_similarity_loss(logits, targets), logits)
    assert gradient[0].abs().sum() == 0 and gradient[1].abs().sum() > 0


def test_gradients_are_right(logits: Tensor) -> None:
    assert torch.autograd.gradcheck(
        lambda z: cross_entropy(z, soft_targets(), WEIGHT, CLASS_WEIGHT, 0.1), (logits,)
    )
    assert torch.autograd.gradcheck(entropy, (logits,))
    assert torch.autograd.gradcheck(mean_prior, (logits,))
