"""The error of the noise on pictures that were not learned from."""

import torch

from leaven.synthesize import NoiseSchedule
from leaven.synthesize.held_out import denoising_error


def _error(say, clean, first=0):
    generator = torch.Generator().manual_seed(3)
    return denoising_error(say, clean, NoiseSchedule(), generator, first)


def test_who_knows_the_picture_makes_no_error():
    clean = torch.randn(6, 2, 4, 4)
    schedule = NoiseSchedule()

    def say(noisy, steps):
        kept = schedule.at(schedule.alphas_bar, steps)
        noise = (noisy - kept.sqrt() * clean) / (1 - kept).sqrt()
        return torch.cat([noise, torch.full_like(noise, 9.0)], 1)  # The variance does not count.

    assert float(_error(say, clean).max()) < 1e-4


def test_who_says_nothing_errs_by_one():
    clean = torch.zeros(400, 1, 4, 4)
    errors = _error(lambda noisy, steps: torch.zeros_like(noisy), clean)
    assert errors.shape == (400,)
    assert abs(float(errors.mean()) - 1) < 0.05


def test_steps_are_spread_evenly_and_noise_is_the_same_at_every_call():
    seen = []

    def say(noisy, steps):
        seen.append(steps)
        return noisy

    clean = torch.zeros(500, 1, 2, 2)
    one, other = _error(say, clean), _error(say, clean)
    assert torch.equal(one, other)
    counts = torch.histc(seen[0].float(), 10, 0, 1000)
    assert int(counts.max() - counts.min()) <= 2
    _error(say, clean[:1], first=7)
    assert int(seen[-1]) == int(seen[0][7])
