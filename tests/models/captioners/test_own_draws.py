import torch

from leaven.models.captioners import OwnDraws


def drawn(draws: OwnDraws, scores: torch.Tensor) -> list[int]:
    made = draws(torch.zeros(len(scores), 1, dtype=torch.int64), scores)
    assert torch.equal(made.isfinite().sum(1), torch.ones(len(scores)))
    assert float(made.max()) == 0.0
    return made.argmax(1).tolist()


def test_tokens_come_as_often_as_they_are_probable() -> None:
    scores = torch.tensor([2.0, 1.0, 0.0, -torch.inf, -1.0])
    for temperature in (0.5, 1.0, 2.0):
        draws = OwnDraws(range(4000), temperature, 1)
        counts = torch.bincount(torch.tensor(drawn(draws, scores.repeat(4000, 1))), minlength=5)
        expected = 4000 * (scores / temperature).softmax(0)
        there = expected > 0
        chi = ((counts - expected)[there] ** 2 / expected[there]).sum()
        # The 0.999 quantile with 3 degrees of freedom.
        assert float(chi) < 16.3
        assert counts[3] == 0


def test_a_row_draws_by_its_seed_and_its_step() -> None:
    scores = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    many, one = OwnDraws([3, 4, 5, 6, 7, 8], 1.0, 20), OwnDraws([5], 1.0, 20)
    rows = [drawn(many, scores)[2] for _ in range(20)]
    assert rows == [drawn(one, scores[2:3])[0] for _ in range(20)]
    assert len(set(rows)) > 5
    assert many.step == 20


def test_no_temperature_changes_nothing() -> None:
    scores = torch.randn(2, 5)
    draws = OwnDraws([0, 1], 0.0, 3)
    assert torch.equal(draws(torch.zeros(2, 1), scores), scores)
    assert draws.step == 1


def test_half_precision() -> None:
    scores = torch.randn(3, 40_000).to(torch.bfloat16)
    assert all(0 <= token < 40_000 for token in drawn(OwnDraws([0, 1, 2], 0.2, 1), scores))
