"""The baseline of a method: the labels alone, with the method's batch and recipe."""

from __future__ import annotations

import pytest

from leaven.job.stage import baseline_of
from leaven.methods import all_methods, find_method

TASKS = ("classification", "segmentation", "detection", "instance")


@pytest.mark.parametrize("task", TASKS)
def test_every_method_has_one(task: str) -> None:
    for kind in all_methods(task).values():
        baseline = baseline_of(kind())
        assert (baseline.card.name, baseline.card.task) == ("supervised", task)


def test_it_has_what_the_method_says_and_its_own_where_it_says_nothing() -> None:
    fixmatch, auto = find_method("fixmatch"), find_method("auto")
    assert (
        baseline_of(fixmatch(batch=8, ema=0.5)).model_dump().items()
        >= {"batch": 8, "ema": 0.5}.items()
    )
    own = find_method("supervised")().model_dump()["batch"]
    assert baseline_of(auto()).model_dump()["batch"] == own
    assert baseline_of(auto(batch=8)).model_dump()["batch"] == 8
