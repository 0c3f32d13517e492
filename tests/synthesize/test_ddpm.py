"""Discrete diffusion: noise, the loss, and a variance that is learned."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from leaven.draws import Draws
from leaven.synthesize import (
    NoiseSchedule,
    ddpm_loss,
    discretised_log_likelihood,
    draw_steps,
    drop_captions,
    log_variance,
    normal_divergence,
    variational_bound,
)

SCHEDULE = NoiseSchedule()
STEPS = torch.tensor([0, 1, 2, 400, 999])


def pictures(seed: int, shape: tuple[int, ...] = (5, 2, 3, 4)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def betas() -> tuple[Tensor, Tensor, Tensor]:
    """beta_t, abar_t and betatilde_t by loops in float64."""
    beta = [1e-4 + (0.02 - 1e-4) * t / 999 for t in range(1000)]
    bar, product = [], 1.0
    for value in beta:
        product *= 1 - value
        bar.append(product)
    before = [1.0, *bar[:-1]]
    small = [b * (1 - p) / (1 - a) for b, p, a in zip(beta, before, bar, strict=True)]
    beta_t, bar_t, small_t = (
        torch.tensor(value, dtype=torch.float64) for value in (beta, bar, small)
    )
    return beta_t, bar_t, small_t


# ---------------------------------------------------------------------------------------- noise


def test_tables_are_those_of_linear_betas() -> None:
    beta, bar, small = (values.float() for values in betas())
    assert torch.allclose(SCHEDULE.alphas_bar, bar, rtol=1e-5)
    assert torch.allclose(SCHEDULE.log_betas.exp(), beta, rtol=1e-5)
    assert torch.allclose(SCHEDULE.log_posterior.exp()[1:], small[1:], rtol=1e-4)
    assert SCHEDULE.log_posterior[0] == SCHEDULE.log_posterior[1]
    assert SCHEDULE.state_dict() == {}


def test_noise_is_added_as_by_diffusers() -> None:
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule="linear")
    expected = theirs.add_noise(pictures(0), pictures(1), STEPS)
    found = SCHEDULE.add_noise(pictures(0), pictures(1), STEPS)
    assert torch.allclose(found, expected, atol=1e-4)


def test_noise_can_be_taken_away() -> None:
    clean, noise = pictures(0), pictures(1)
    noisy = SCHEDULE.add_noise(clean, noise, STEPS)
    assert torch.allclose(SCHEDULE.clean_of(noisy, noise, STEPS), clean, atol=1e-3)


def test_the_posterior_is_that_of_bayes() -> None:
    """From q(x_t | x_s) and q(x_s | x_0), s = t - 1, by the product of two normals."""
    beta, bar, small = betas()
    clean, noisy = pictures(0).double(), pictures(1).double()
    found = SCHEDULE.posterior_mean(clean, noisy, STEPS)
    assert torch.allclose(found[0], clean[0], atol=1e-6)
    for row, step in enumerate(STEPS.tolist()):
        if step == 0:
            continue
        prior, noise = 1 - bar[step - 1], beta[step]
        precision = 1 / prior + (1 - noise) / noise
        mean = bar[step - 1].sqrt() * clean[row] / prior + (1 - noise).sqrt() * noisy[row] / noise
        assert torch.allclose(found[row], mean / precision, atol=1e-4)
        assert (1 / precision).item() == pytest.approx(small[step].item(), rel=1e-3)


def test_steps_are_uniform() -> None:
    steps = draw_steps(Draws(0), 20000, SCHEDULE)
    assert (steps.min(), steps.max()) == (0, 999)
    assert steps.float().mean().item() == pytest.approx(499.5, abs=8)


# ------------------------------------------------------------------------------ learned variance


def test_the_ends_of_the_variance() -> None:
    beta, _, small = (values.float() for values in betas())
    ones = torch.ones(5, 2, 3, 4)
    largest = log_variance(ones, STEPS, SCHEDULE).exp()
    smallest = log_variance(-ones, STEPS, SCHEDULE).exp()
    assert torch.allclose(largest[:, 0, 0, 0], beta[STEPS], rtol=1e-4)
    assert torch.allclose(smallest[1:, 0, 0, 0], small[STEPS[1:]], rtol=1e-4)
    middle = log_variance(0 * ones, STEPS, SCHEDULE).exp()
    assert torch.allclose(middle, (largest * smallest).sqrt(), rtol=1e-5)


def test_the_variance_is_that_of_diffusers() -> None:
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule="linear", variance_type="learned_range")
    raw = pictures(2)
    found = log_variance(raw, STEPS, SCHEDULE)
    for row, step in enumerate(STEPS.tolist()[1:], start=1):
        expected = theirs._get_variance(step, predicted_variance=raw[row])
        assert torch.allclose(found[row], expected, atol=2e-3)


def test_divergence_of_normals_is_that_of_torch() -> None:
    a, b, c, d = (pictures(seed) for seed in range(4))
    one = torch.distributions.Normal(a, (b / 2).exp())
    other = torch.distributions.Normal(c, (d / 2).exp())
    expected = torch.distributions.kl_divergence(one, other)
    assert torch.allclose(normal_divergence(a, b, c, d), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("std", [0.001, 0.05, 3.0])
@pytest.mark.parametrize("mean", [-1.2, 0.1, 1.0])
def test_values_of_eight_bits_have_the_whole_mass(mean: float, std: float) -> None:
    values = torch.linspace(-1, 1, 256, dtype=torch.float64)
    found = discretised_log_likelihood(
        values, torch.full_like(values, mean), torch.full_like(values, math.log(std))
    )
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_a_perfect_prediction_is_bounded_by_nothing() -> None:
    clean, noise, raw = pictures(0), pictures(1), -torch.ones(5, 2, 3, 4)
    noisy = SCHEDULE.add_noise(clean, noise, STEPS)
    found = variational_bound(noise, raw, clean, noisy, STEPS, SCHEDULE)
    assert torch.allclose(found[1:], torch.zeros(4), atol=1e-4)
    wrong = variational_bound(noise + 1, raw, clean, noisy, STEPS, SCHEDULE)
    assert (wrong[1:] > 1e-5).all()


def test_the_bound_is_that_of_its_definition() -> None:
    """In bits per value; at t = 0 the likelihood of eight-bit values."""
    clean = (torch.rand(5, 2, 3, 4, generator=torch.Generator().manual_seed(0)) * 255).round()
    clean, noise, raw = clean / 127.5 - 1, pictures(1), pictures(2).tanh()
    guess = noise + 0.1 * pictures(3)
    noisy = SCHEDULE.add_noise(clean, noise, STEPS)
    found = variational_bound(guess, raw, clean, noisy, STEPS, SCHEDULE)
    beta, bar, small = (values.float() for values in betas())
    small[0] = small[1]
    for row, t in enumerate(STEPS.tolist()):
        share = (raw[row] + 1) / 2
        variance = (share * beta[t].log() + (1 - share) * small[t].log()).exp()
        start = (noisy[row] - (1 - bar[t]).sqrt() * guess[row]) / bar[t].sqrt()
        mean = SCHEDULE.posterior_mean(start[None], noisy[row : row + 1], torch.tensor([t]))[0]
        predicted = torch.distributions.Normal(mean, variance.sqrt())
        if t:
            true = SCHEDULE.posterior_mean(clean[row : row + 1], noisy[row : row + 1], STEPS[row])
            posterior = torch.distributions.Normal(true[0], small[t].sqrt())
            nats = torch.distributions.kl_divergence(posterior, predicted)
        else:
            upper = torch.where(clean[row] > 0.999, 1.0, predicted.cdf(clean[row] + 1 / 255))
            lower = torch.where(clean[row] < -0.999, 0.0, predicted.cdf(clean[row] - 1 / 255))
            nats = -(upper - lower).clamp_min(1e-12).log()
        expected = nats.mean().item() / math.log(2)
        assert found[row].item() == pytest.approx(expected, rel=0.01, abs=1e-4)


# ------------------------------------------------------------------------------------- the loss


def test_the_bound_teaches_the_variance_and_the_error_the_noise() -> None:
    clean, noise, output = pictures(0), pictures(1), pictures(2, (5, 4, 3, 4))
    output.requires_grad_()
    noisy = SCHEDULE.add_noise(clean, noise, STEPS)
    loss = ddpm_loss(output, clean, noisy, noise, STEPS, SCHEDULE)
    (of_bound,) = torch.autograd.grad(loss.bound.sum(), output, retain_graph=True)
    assert of_bound[:, :2].abs().max() == 0
    assert (of_bound[:, 2:].flatten(1).abs().amax(1) > 0).all()
    (of_noise,) = torch.autograd.grad(loss.noise.sum(), output, retain_graph=True)
    assert of_noise[:, 2:].abs().max() == 0
    assert torch.allclose(of_noise[:, :2], 2 * (output[:, :2] - noise) / 24, atol=1e-6)
    assert loss.total.item() == pytest.approx((loss.noise + loss.bound).mean().item())


def test_without_variance_there_is_the_error_alone() -> None:
    clean, noise, output = (pictures(seed) for seed in range(3))
    noisy = SCHEDULE.add_noise(clean, noise, STEPS)
    loss = ddpm_loss(output, clean, noisy, noise, STEPS, SCHEDULE)
    assert loss.bound.tolist() == [0] * 5
    assert loss.total.item() == pytest.approx((output - noise).square().mean().item())


def test_the_best_variance_of_a_true_mean_is_the_posterior() -> None:
    """Descent on the bound leads from the largest variance to the smallest."""
    clean, noise = pictures(0)[3:4], pictures(1)[3:4]
    steps = STEPS[1:2]
    noisy = SCHEDULE.add_noise(clean, noise, steps)
    raw = torch.ones_like(clean).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        variational_bound(noise, raw, clean, noisy, steps, SCHEDULE).sum().backward()
        optimizer.step()
    assert torch.allclose(raw, -torch.ones_like(raw), atol=0.05)


# ---------------------------------------------------------------------------- captions dropped


def test_captions_are_dropped_whole() -> None:
    text, null = pictures(0, (4000, 3, 2)), pictures(1, (3, 2))
    found = drop_captions(text, null, 0.1, Draws(0))
    dropped = (found == null).flatten(1).all(1)
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(found[~dropped], text[~dropped])
    assert torch.equal(drop_captions(text, null, 0.0, Draws(0)), text)
    assert torch.equal(drop_captions(text, null, 1.0, Draws(0)), null.expand_as(text))
    assert drop_captions(text[:0], null, 0.5, Draws(0)).shape == (0, 3, 2)
