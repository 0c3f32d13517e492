"""Every reader on documents that are almost right."""

import pytest
from tests.safety.fuzz import TARGETS, run_target


@pytest.mark.parametrize("name", TARGETS)
def test_a_clear_error_or_a_right_result(name: str) -> None:
    run_target(name)
