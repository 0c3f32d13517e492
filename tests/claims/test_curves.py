"""What claims measure of a run on its way."""

from __future__ import annotations

import pytest
from claims.curves import with_curves

from claims import sources
from leaven.methods.classification.supervised import Supervised
from leaven.train import Budget, Settings


def test_first_and_last_of_a_curve() -> None:
    settings = Settings(budget=Budget(steps=40), options={"width": 8}, threads=1, evaluations=1)
    measure = with_curves(Supervised(batch=32), sources.digits(10), settings, ["loss/supervised"])
    values = measure(0)
    first, last = values["loss/supervised_first"], values["loss/supervised_last"]
    assert 0 < last < first
    assert values["loss/supervised_rise"] == pytest.approx(last - first)
    assert 0 < values["accuracy"] <= 1
    assert measure(0) == values
    assert measure(1) != values
