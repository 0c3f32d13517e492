"""A teacher that averages over more steps than there are."""

from __future__ import annotations

import pytest

from leaven.quality import Health


@pytest.mark.parametrize(
    ("decay", "steps", "said"),
    [
        (0.99, 400, False),
        (0.99, 399, True),
        (0.999, 4000, False),
        (0.999, 400, True),
        (0, 4, False),
        (0.18, 1, False),  # No smaller decay could be advised.
    ],
)
def test_a_teacher_may_average_over_a_quarter_of_the_steps(
    decay: float, steps: int, said: bool
) -> None:
    health = Health(3)
    health.decay(decay, steps)
    assert [finding.code for finding in health.findings()] == ["slow-teacher"] * said


def test_no_average_is_not_slow() -> None:
    health = Health(3)
    health.decay(0.0, 2)
    assert not health.findings()


@pytest.mark.parametrize("predicts", [True, False])
def test_it_is_said_what_the_teacher_does(predicts: bool) -> None:
    health = Health(3)
    health.decay(0.999, 10, predicts=predicts)
    text = health.findings()[0].text
    assert "gives labels" in text
    assert ("predicts" in text) == predicts


def test_the_decay_that_is_advised_is_not_slow() -> None:
    for steps in (8, 100, 4000):
        health = Health(3)
        health.decay(0.9999, steps)
        advised = float(health.findings()[0].text.rsplit("=", 1)[1].rstrip("."))
        other = Health(3)
        other.decay(advised, steps)
        assert not other.findings()
