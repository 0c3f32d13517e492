"""What is said of the progress of a run where there is no terminal."""

from __future__ import annotations

import logging

import pytest

from leaven.train import journal


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        # A resumed run does not begin at 0: what went before is not counted.
        (
            [(100, 0.5), (110, 0.55), (120, 0.6), (125, 0.62)],
            "train:  60%, 1,234 images/s, 0:01:20 left, accepted 3%",
        ),
        # Before there is a pace, nothing is known of the rest.
        ([(120, 0.25)], "train:  25%, 1,234 images/s, accepted 3%"),
    ],
)
def test_log_lines_say_how_long_the_rest_takes(
    shown: list[tuple[float, float]],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(journal.sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO), journal.Bar("train", True) as bar:
        for clock[0], progress in shown:
            bar.show(progress, 1234.0, "accepted 3%")
    assert caplog.messages == [said]
