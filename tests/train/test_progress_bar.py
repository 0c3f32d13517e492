"""What is said of the progress of a run where there is no terminal."""

from __future__ import annotations

import logging

import pytest

from leaven.train import journal


def test_log_lines_say_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(journal.sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO), journal.Bar("train", True) as bar:
        # A resumed run does not begin at 0: what went before is not counted.
        for now, progress in ((100, 0.5), (110, 0.55), (120, 0.6), (125, 0.62)):
            clock[0] = now
            bar.show(progress, 1234.0, "accepted 3%")
    assert caplog.messages == ["train:  60%, 1,234 images/s, 0:01:20 left, accepted 3%"]


def test_nothing_is_said_of_the_rest_before_there_is_a_pace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(journal.sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO), journal.Bar("train", True) as bar:
        clock[0] = 120.0
        bar.show(0.25, 5.0, "")
    assert caplog.messages == ["train:  25%, 5 images/s"]
