"""The virtual adversarial change: direction, length, and what it leaves alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from leaven.draws import Draws
from leaven.learn import (
    adversarial_change,
    adversarial_direction,
    divergence,
    stronger_sign,
)


def linear(weights: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda images: images.flatten(1) @ weights.T


def setting(classes: int) -> tuple[Tensor, Callable[[Tensor], Tensor], Tensor]:
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(classes, 12, generator=generator)
    images = torch.rand(4, 3, 2, 2, generator=generator)
    return weights, linear(weights), images


def test_two_classes_are_moved_along_the_difference_of_their_weights() -> None:
    weights, model, images = setting(2)
    change = adversarial_change(model, images, model(images).softmax(1), Draws(0), 0.1)
    expected = weights[0] - weights[1]
    cosines = torch.cosine_similarity(change.flatten(1), expected.expand(4, -1))
    torch.testing.assert_close(cosines.abs(), torch.ones(4), atol=1e-4, rtol=0)
    lengths = change.flatten(1).square().mean(1).sqrt()
    torch.testing.assert_close(lengths, torch.full((4,), 0.1))


def test_iterations_find_the_largest_eigenvector_of_the_second_derivative() -> None:
    weights, model, images = setting(4)
    probs = model(images).softmax(1)
    found = adversarial_change(model, images, probs, Draws(1), 1.0, 1e-3, iterations=60)
    for change, p in zip(found.flatten(1), probs, strict=True):
        fisher = torch.diag(p) - torch.outer(p, p)
        vectors = torch.linalg.eigh(weights.T @ fisher @ weights).eigenvectors
        cosine = torch.cosine_similarity(change, vectors[:, -1], dim=0)
        assert abs(float(cosine)) > 0.99


def test_it_changes_the_output_more_than_random_changes_of_its_length() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 3))
    images = torch.rand(64, 3, 2, 2)
    targets = model(images).softmax(1)
    change = adversarial_change(model, images, targets, Draws(0), 0.2)
    noise = torch.randn(64, 3, 2, 2)
    noise *= 0.2 / noise.flatten(1).square().mean(1).sqrt().view(-1, 1, 1, 1)
    moved = divergence(model(images + change), targets)
    assert moved > 2 * divergence(model(images + noise), targets)


def test_nothing_reaches_the_gradients_of_the_model() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images = torch.rand(4, 3, 2, 2, requires_grad=True)
    with torch.no_grad():
        targets = model(images).softmax(1)
        change = adversarial_change(model, images, targets, Draws(0), 0.1)
    assert not change.requires_grad and images.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_does_not_react_gets_no_change_and_tiny_reactions_a_full_one() -> None:
    images = torch.rand(4, 3, 2, 2)
    weights = torch.randn(2, 12)
    flat = linear(torch.zeros(2, 12))
    assert not adversarial_change(flat, images, flat(images).softmax(1), Draws(0), 0.1).any()
    # The gradient of 1e-25 has a square below the smallest number.
    faint = linear(weights * 1e-12)
    double = images.double()
    far = adversarial_change(
        linear(weights.double() * 1e-12), double, faint(images).double().softmax(1), Draws(0), 0.1
    )
    torch.testing.assert_close(
        far.flatten(1).square().mean(1).sqrt(), torch.full((4,), 0.1, dtype=torch.float64)
    )


@pytest.mark.parametrize("wrong", [{"radius": -1.0}, {"probe": 0.0}, {"iterations": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    _, model, images = setting(2)
    values = {"radius": 0.1} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        adversarial_change(model, images, model(images).softmax(1), Draws(0), **values)  # type: ignore[arg-type]


def test_a_radius_for_each_picture() -> None:
    _, model, images = setting(4)
    radius = torch.tensor([0.0, 0.1, 0.5, 2.0])
    change = adversarial_change(model, images, model(images).softmax(1), Draws(0), radius)
    torch.testing.assert_close(change.flatten(1).square().mean(1).sqrt(), radius)


def test_one_start_for_all_pictures_makes_their_order_irrelevant() -> None:
    _, model, images = setting(4)
    targets, start = model(images).softmax(1), Draws(2).normal(1, 3, 2, 2)
    order = torch.tensor([2, 0, 3, 1])
    found = adversarial_direction(model, images, targets, start)
    again = adversarial_direction(model, images[order], targets[order], start)
    torch.testing.assert_close(again, found[order])


def test_of_both_signs_the_one_that_changes_more_is_taken() -> None:
    # Of two classes KL(p, p(x + r)) is larger towards the other class, where p is sure.
    weights, model, images = setting(2)
    targets = model(images).softmax(1)
    along = (weights[0] - weights[1]).view(1, 3, 2, 2)
    along = along / along.square().mean().sqrt()
    flips = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(-1, 1, 1, 1)
    change, logits = stronger_sign(model, images, along * flips, targets, 1.5)
    torch.testing.assert_close(logits, model(images + change))
    for row in range(4):
        both = [
            divergence(model(images[[row]] + sign * 1.5 * along), targets[[row]])
            for sign in (1, -1)
        ]
        taken = divergence(logits[[row]], targets[[row]])
        torch.testing.assert_close(taken, torch.stack(both).max())
    still, same = stronger_sign(model, images, along * flips, targets, torch.zeros(4))
    assert not still.any() and torch.equal(same, model(images))


def test_a_linear_classifier_flips_when_the_radius_exceeds_its_margin() -> None:
    weights, model, images = setting(2)
    logits = model(images)
    width = weights.shape[1]
    # The distance of each picture to the border, as a root mean square.
    distance = (logits[:, 0] - logits[:, 1]).abs() / (weights[0] - weights[1]).norm() / width**0.5
    targets, start = logits.softmax(1), torch.randn(1, 3, 2, 2)
    direction = adversarial_direction(model, images, targets, start)
    for factor, flipped in ((0.99, False), (1.01, True)):
        radius = distance * factor
        across = -(logits[:, 0] - logits[:, 1]).sign()[:, None] * (weights[0] - weights[1])
        cosine = torch.cosine_similarity(direction.flatten(1), across, dim=1).sign()
        # Whichever sign the search found: only the one that points across the border flips.
        over = model(images + (radius * cosine).view(-1, 1, 1, 1) * direction)
        away = model(images - (radius * cosine).view(-1, 1, 1, 1) * direction)
        assert bool(((over.argmax(1) != logits.argmax(1)) == flipped).all())
        assert torch.equal(away.argmax(1), logits.argmax(1))
    # With the stronger sign a change well above the margin flips, from either start.
    for sign in (1.0, -1.0):
        direction = adversarial_direction(model, images, targets, sign * start)
        change, said = stronger_sign(model, images, direction, targets, 3 * distance)
        assert bool((said.argmax(1) != logits.argmax(1)).all())
        lengths = change.flatten(1).norm(dim=1)
        torch.testing.assert_close(lengths, 3 * distance * width**0.5, rtol=1e-5, atol=0)
